"""Two processes make the steps that one makes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import toys
from safetensors.torch import load_file

from storymem.training.footage import FootageClip
from storymem.training.seeding import generator

SCRIPT = Path(__file__).with_name("distributed.py")
SETTINGS = ("steps=3", "accumulate=2", "batch_size=8", "expert=low", "ema.decay=0.9")
VAE_SETTINGS = ("seed=9", "steps=5", "accumulate=2", "batch_size=4", "ema.decay=0.9", "loss.single_frames=0.5")


def run(output: Path, processes: int, *overrides: str) -> str:
    return launch(str(toys.CHECKPOINT), output, processes, *SETTINGS, *overrides)


def launch(model: str, output: Path, processes: int, *settings: str) -> str:
    done = started(model, output, processes, *settings)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def started(model: str, output: Path, processes: int, *settings: str) -> subprocess.CompletedProcess[str]:
    launcher = (
        ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    )
    command = [sys.executable, *launcher, str(SCRIPT), model, str(output), *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("alone")
    run(output, 1)
    return output


def compare(ours: Path, theirs: Path, weights: str = "lora/backbone_low_noise.safetensors", steps: int = 3) -> None:
    assert len(toys.losses(ours)) == steps
    assert toys.losses(ours) == pytest.approx(toys.losses(theirs), rel=1e-5)
    assert toys.losses(ours, "gradient_norm") == pytest.approx(toys.losses(theirs, "gradient_norm"), rel=1e-3)
    a, b = (load_file(path / weights) for path in (ours, theirs))
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert value.shape == b[name].shape
        # Adam divides by the size of the gradient, which for a near-zero one is rounding.
        assert (value - b[name]).norm() <= 2e-2 * b[name].norm() + 1e-6, name


@pytest.mark.slow
def test_copies_of_the_model(alone: Path, tmp_path: Path) -> None:
    said = run(tmp_path, 2)
    assert "sharded False" in said
    assert "waits 1 day" in said  # some encode footage for longer than others
    compare(tmp_path, alone)


@pytest.mark.slow
def test_a_sharded_model(alone: Path, tmp_path: Path) -> None:
    assert "sharded True" in run(tmp_path / "whole", 2, "runtime.fsdp=true")
    compare(tmp_path / "whole", alone)
    # Its checkpoints are whole: two processes write what one goes on from.
    run(tmp_path / "parts", 2, "runtime.fsdp=true", "steps=2")
    run(tmp_path / "parts", 1, "steps=3")
    compare(tmp_path / "parts", alone)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", ["false", "true"])
def test_both_experts_of_a_judged_model(tmp_path: Path, sharded: str) -> None:
    shots = ("reward={steps: 4}", "noise.shift=1", "conditioning={max_memory: 2, drop_prompt: 0}")
    knowing = "data.options={groups: 40, clips: 3, subjects: true}"
    settings = ("steps=3", "accumulate=2", "batch_size=8", "ema.decay=0.9", *shots, knowing)
    launch(str(toys.CHECKPOINT), tmp_path / "1", 1, *settings)
    launch(str(toys.CHECKPOINT), tmp_path / "2", 2, *settings, f"runtime.fsdp={sharded}")
    compare(tmp_path / "2", tmp_path / "1")


@pytest.mark.slow
def test_a_vae_of_which_some_steps_use_a_part(tmp_path: Path) -> None:
    kinds = [[generator(9, "batch", step, part).random() < 0.5 for part in range(2)] for step in range(5)]
    # Single frames alone, not at all, and in the part of a step that is shared or in the other one.
    assert {tuple(kind) for kind in kinds} == {(True, True), (False, False), (True, False), (False, True)}
    for processes in (1, 2):
        launch("vae", tmp_path / str(processes), processes, *VAE_SETTINGS)
    compare(tmp_path / "2", tmp_path / "1", "vae/diffusion_pytorch_model.safetensors", steps=5)


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode != 0
    return [line.removeprefix("told: ") for line in done.stderr.splitlines() if line.startswith("told: ")]


@pytest.mark.slow
@pytest.mark.parametrize("sharded", ["false", "true"])
def test_a_checkpoint_that_not_all_see_is_not_gone_on_from(tmp_path: Path, sharded: str) -> None:
    settings = (*SETTINGS, "steps=1", f"runtime.fsdp={sharded}")
    launch(str(toys.CHECKPOINT), tmp_path / "nodeRANK", 2, *settings)  # there is nothing yet to go on from
    assert [path.name for path in tmp_path.glob("node*/checkpoints/*")] == ["low-00000001"]
    said = told(started(str(toys.CHECKPOINT), tmp_path / "nodeRANK", 2, *settings, "steps=2"))
    assert said
    for line in said:
        assert "checkpoints are seen by some processes only (they would go on from the steps 1, 0): put output" in line
    shutil.copytree(tmp_path / "node0", tmp_path / "node1", dirs_exist_ok=True)
    launch(str(toys.CHECKPOINT), tmp_path / "nodeRANK", 2, *settings, "steps=2")


@pytest.mark.slow
def test_footage_that_each_encodes_for_itself_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clips = [FootageClip(f"c{n}", n // 2, "a.mp4", 0, 4, None, (f"Square {n}.",)) for n in range(8)]
    toys.write_footage(
        tmp_path / "data", ((clip, rng.uniform(-1, 1, (5, 3, 32, 32)).astype(np.float32)) for clip in clips)
    )
    for node in ("data0", "data1"):
        shutil.copytree(tmp_path / "data", tmp_path / node)
    given = "data={folder: '%s', width: 32, height: 32, num_frames: 5, keyframes_per_clip: 4}"
    settings = ("steps=1", "batch_size=4", "expert=low")

    def run(folder: str) -> subprocess.CompletedProcess[str]:
        return started(str(toys.CHECKPOINT), tmp_path / "out", 2, *settings, given % (tmp_path / folder))

    for what in ("latents", "embeddings of prompts"):
        said = told(run("dataRANK"))
        assert said
        for line in said:
            assert re.search(rf"{what} are seen by some processes only \(\d are not seen by process [01]\): put", line)
        for folder in tmp_path.glob("data0/latents-*"):  # as if each had all latents
            for one, other in (("data0", "data1"), ("data1", "data0")):
                shutil.copytree(tmp_path / one / folder.name, tmp_path / other / folder.name, dirs_exist_ok=True)
    assert run("data").returncode == 0  # of a disk that both see
    shutil.rmtree(next(tmp_path.glob("data1/latents-*")))  # one of them lacks what the other has
    ended = run("dataRANK")
    said = told(ended)
    assert said
    assert all("not seen by process 1): put" in line for line in said)
    assert "Connection closed" not in ended.stderr  # whoever had all would have waited for the other

    next(tmp_path.glob("data/latents-*/c5.safetensors")).unlink()
    (tmp_path / "data" / "clips" / "c5.mp4").write_bytes(b"no video")
    ended = run("data")
    said = told(ended)
    assert said
    assert all(re.search(r"c5\.mp4: the video is|process [01] stopped while footage was enc", line) for line in said)
    assert "Connection closed" not in ended.stderr  # whoever had all would have waited for the other
