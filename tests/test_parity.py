"""Equal to the method: the reference cases are what its public code computed on tiny random weights.

The committed cases hold every fourth pixel of the videos; everything else is whole. The bound is what the project
promises; measured errors are below 1e-5.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

ROOT = Path(__file__).parents[1]
FULL = ROOT.parent / "shared" / "reference_cases"
BOUND = 1e-4
CASES = ["m2v", "m2v_dpmpp", "m2v_full_bank", "m2v_one_keyframe", "m2v_stride_1", "mi2v", "mm2v"]


def run_parity(cases: Path, out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "parity.py"), str(cases), "--out", str(out)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def ours(reference_cases: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("parity")
    assert run_parity(reference_cases, out).returncode in (0, 1)
    return out


@pytest.mark.parametrize("case", CASES)
def test_a_case_is_reproduced(case: str, ours: Path, reference_cases: Path) -> None:
    expected = load_file(reference_cases / case / "expected.safetensors")
    computed = load_file(ours / f"{case}.safetensors")
    computed["video"] = computed["video"][:, :, 1::4, 1::4]
    assert set(expected) == set(computed)
    for name, theirs in expected.items():
        error = (computed[name].double() - theirs.double()).norm() / theirs.double().norm()
        assert error < BOUND, name


def test_every_keyframe_selection_is_equal(ours: Path, reference_cases: Path) -> None:
    expected = json.loads((reference_cases / "keyframe_selection.json").read_text())["cases"]
    computed = json.loads((ours / "keyframe_selection.json").read_text())["cases"]
    assert len(computed) == len(expected) == 32
    for theirs, mine in zip(expected, computed, strict=True):
        assert mine["selected"] == theirs["selected"]
        assert mine["kept"] == theirs["kept"]


@pytest.mark.skipif(not FULL.is_dir(), reason="the whole reference cases are not on this machine")
def test_the_whole_cases_too(tmp_path: Path) -> None:
    result = run_parity(FULL, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_cases_that_say_less_and_expect_nothing(reference_cases: Path, tmp_path: Path) -> None:
    cases = tmp_path / "cases"
    for name, source, left_out in (("silent", "m2v", ("negative_prompt", "shift")), ("lost", "mm2v", ())):
        shutil.copytree(reference_cases / source, cases / name)
        (cases / name / "expected.safetensors").unlink()
        case = json.loads((cases / name / "case.json").read_text())
        case |= {"width": 48, "height": 32, "frames": 5, "steps": 1, "guidance_scale": [3.0, 2.0]}
        (cases / name / "case.json").write_text(json.dumps({k: v for k, v in case.items() if k not in left_out}))
    (cases / "checkpoint").symlink_to(reference_cases / "checkpoint")
    result = run_parity(cases, tmp_path / "out")
    assert result.returncode == 1
    assert "lost: cannot be run: " in result.stdout  # its motion frames are nowhere
    assert "motion_frames" in result.stdout
    assert load_file(tmp_path / "out" / "silent.safetensors")["video"].shape == (3, 5, 32, 48)
