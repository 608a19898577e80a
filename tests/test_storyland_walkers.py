"""The benchmark that says whether who walks is shown once."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from storymem.worlds.storyland import render
from storymem.worlds.storyland.reader import load_reader

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "storyland_walkers.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def walkers(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("storyland_walkers")


def test_shots_are_made_and_figures_and_pictures_kept(tmp_path: Path) -> None:
    out, sheet = tmp_path / "walkers.json", tmp_path / "walkers.png"
    done = run("--clips", "2", "--json", str(out), "--sheet", str(sheet))
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_text(encoding="utf-8"))
    assert (report["model"], report["shots"], report["frames"]) == ("storyland", 2, 10)
    assert sum(report["shown"].values()) == 2
    assert 0 < report["looks"] <= 1
    assert Image.open(sheet).size == (5 * 224, 2 * 128)


def test_only_lone_walkers_of_the_camera_asked_for_are_shown(walkers: Any) -> None:
    pairs = list(walkers.walkers(5, "static"))
    assert len(pairs) == 5
    for portrait, clip in pairs:
        (actor,) = clip.spec.actors
        assert (actor.action in ("walk", "run"), clip.spec.shot_type, clip.spec.camera) == (True, "medium", "static")
        assert portrait.portrait
        assert portrait.spec.actors[0].hero == actor.hero


def test_true_drawings_are_right_and_a_second_one_makes_all_wrong(walkers: Any) -> None:
    reader = load_reader()
    for _, clip in walkers.walkers(3, "static"):
        once = walkers.look(reader, render([clip.spec], 25, 128, 224)[0].transpose(0, 1).numpy(), clip)
        assert (once.heroes, once.extra, once.looked, once.acts) == (1, 0, 5, True)
        assert once.right >= once.asked - 1
        (actor,) = clip.spec.actors
        both = replace(clip.spec, actors=(replace(actor, x=-0.5, action="stand"), replace(actor, x=0.5, action="wave")))
        shown = walkers.look(reader, render([both], 25, 128, 224)[0].transpose(0, 1).numpy(), clip)
        assert (shown.heroes, shown.extra, shown.right, shown.acts) == (2, 5, 0, False)
        assert shown.asked == once.asked


def test_a_mistake_is_told_in_a_sentence(tmp_path: Path) -> None:
    done = run("--model", str(tmp_path / "nothing"))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "nothing" in done.stderr
    assert run("--clips", "0").returncode == 2
