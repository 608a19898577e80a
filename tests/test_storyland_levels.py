"""The benchmark that says at which noise level heroes are lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "storyland_levels.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_little_noise_costs_nothing_and_all_of_it_much(tmp_path: Path) -> None:
    out = tmp_path / "levels.json"
    done = run("--clips", "6", "--memory", "2", "--levels", "0.05", "1", "--steps", "4", "--json", str(out))
    assert done.returncode == 0, done.stderr
    levels = json.loads(out.read_text(encoding="utf-8"))["levels"]
    assert list(levels) == ["0", "0.05", "1"]
    assert levels["0"]["right"] > 0.6  # of what the VAE keeps, read
    assert abs(levels["0.05"]["right"] - levels["0"]["right"]) < 0.12
    assert levels["1"]["right"] < levels["0"]["right"] - 0.2
    assert "error" not in levels["0"]
    assert levels["1"]["error"] > 0
    assert done.stdout.count("looks right") == 3


def test_a_mistake_is_told_in_a_sentence(tmp_path: Path) -> None:
    done = run("--model", str(tmp_path / "nothing"))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "nothing" in done.stderr
    assert run("--levels", "1.5").returncode == 2
