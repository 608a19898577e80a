"""What the tests of commands share: a script, the options of the tiny checkpoint, and the command line itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from storymem.cli import main

SCRIPT = """\
title: The Fox and the Lantern
overview: A fox finds a lantern in the forest.
cast:
  Rudi: a small red fox with a green scarf
scenes:
  - shots:
      - Wide shot, Rudi walks through a dark forest.
      - prompt: Rudi sees a light.
        cut: false
  - shots:
      - Close-up of Rudi holding a lantern.
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "fox.yaml"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


@pytest.fixture
def options(checkpoint: Path) -> list[str]:
    lora = checkpoint / "StoryMem" / "Wan2.2-MI2V-A14B"
    return [
        "--model",
        str(checkpoint),
        "--lora",
        str(lora),
        "--size",
        "48x32",
        "--frames",
        "5",
        "--steps",
        "2",
        "--seed",
        "3",
    ]


Storymem = Callable[..., str]


@pytest.fixture
def storymem(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Storymem:
    """Runs the command line in this process and gives what it printed; the exit code must be `code`."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments: object, code: int = 0) -> str:
        monkeypatch.setattr(sys, "argv", ["storymem", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        out, err = capfd.readouterr()
        assert (left.value.code or 0) == code, out + err
        return out + err

    return run
