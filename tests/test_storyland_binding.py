"""The benchmark that says whether two heroes in one picture get each their own looks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
    # What the measure says of heroes who are where they should be: 1 but for what is no looks, as signs beside heads.
    assert 0.6 < figures["true drawings"]["mean"] < 1.2
    assert 0.6 < figures["chosen"]["mean"] < 1.4
    assert all(-1.2 < figure["mean"] < 1.2 and figure["n"] == 2 for figure in figures.values())
    assert (report["model"], report["pairs"], report["noises"]) == ("storyland", 2, 2)
    assert done.stdout.count("+-") == 6


def test_a_mistake_is_told_in_a_sentence(tmp_path: Path) -> None:
    done = run("--model", str(tmp_path / "nothing"))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "nothing" in done.stderr
    assert run("--pairs", "1").returncode == 2
