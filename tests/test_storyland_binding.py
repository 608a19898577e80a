"""The benchmark that says whether two heroes in one picture get each their own looks."""

from __future__ import annotations

import argparse
import importlib
import itertools
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from storymem.film.resolve import ModelRequest, resolve_model
from storymem.settings import SamplingConfig
from storymem.worlds.storyland import sample_group

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "storyland_binding.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_lone_hero_is_chosen_from_memory_and_figures_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "binding.json"
    done = run("--pairs", "2", "--noises", "2", "--frames", "1", "--json", str(out))
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    figures = report["figures"]
    assert list(figures) == ["told, sides", "told, order", "species", "memory", "chosen", "true drawings"]
    assert all(figure["n"] == 2 for figure in figures.values())
    # The small model has memory guidance in its weights and learned from a judge: it says 2.9 times what memory shows.
    assert 0.6 < figures.pop("chosen")["mean"] / 2.9 < 1.4
    assert all(-1.2 < figure["mean"] < 1.2 for figure in figures.values())
    assert (report["model"], report["pairs"], report["noises"]) == ("storyland", 2, 2)
    assert done.stdout.count("+-") == 6


@pytest.mark.parametrize("share", [0.5, 1.0, 3.0])
def test_how_much_of_memory_is_said_is_measured_exactly(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """By a model that says so much of what memory shows of each hero alone, and noise of all else."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    binding = importlib.import_module("storyland_binding")
    asked = itertools.count()

    def expected(self: Any, prompt: str, memory: torch.Tensor | None, noises: int) -> torch.Tensor:
        turn, blank = next(asked) % 4, self.codec.encode_known(None, 1, 128, 224, blank=self.sampling.blank)
        if memory is None or turn < 2:  # both heroes in the picture
            return torch.randn(blank.shape[1], *blank.shape[-2:])
        return share * memory[0, :, turn - 2]

    monkeypatch.setattr(binding.Expecting, "expected", expected)
    args = argparse.Namespace(model=None, pairs=2, noises=1, frames=1, seed=0)
    assert binding.measure(args)["figures"]["chosen"]["mean"] == pytest.approx(share, abs=1e-4)


def test_true_drawings_are_where_they_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twelve pairs: one says little, from 0.5 to 1.1."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    binding = importlib.import_module("storyland_binding")
    resolved = resolve_model(ModelRequest())
    sampling = SamplingConfig(**{**resolved.sampling, "num_frames": 1})
    model = binding.Expecting(resolved.model.folder, sampling, guidance=1.0)
    groups = [sample_group(number, "test", clips=6, two_heroes=1.0) for number in range(12)]
    assert 0.8 < statistics.mean(binding.bound(list(model.drawn(group)))[0] for group in groups) < 1.2


def test_a_mistake_is_told_in_a_sentence(tmp_path: Path) -> None:
    done = run("--model", str(tmp_path / "nothing"))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "nothing" in done.stderr
    assert run("--pairs", "1").returncode == 2
