from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from storymem.cli.memory import spans

Storymem = Callable[..., str]
ORDER = [f"01-{number:02}" for number in range(1, 8)] + ["end"]


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([], "no shot"),
        (["01-02"], "01-02"),
        (["01-02", "01-03", "01-05"], "01-02, 01-03, 01-05"),
        (["01-02", "01-03", "01-04"], "01-02 to 01-04; 3 shots"),
        (["01-01", "01-03", "01-04", "01-05", "01-07", "end"], "01-01, 01-03 to 01-05, 01-07, end; 6 shots"),
    ],
)
def test_neighbouring_shots_are_said_as_one_span(ids: list[str], said: str) -> None:
    assert spans(ids, ORDER) == said


def test_keyframes_are_listed_in_lines_that_no_narrow_terminal_tears(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--no-export")
    monkeypatch.setenv("COLUMNS", "40")
    first, *_ = storymem("memory", "list", film).split("\n\n")
    head, seen_by, picture = first.splitlines()
    assert re.fullmatch(r"[0-9a-f]{12}  shot 01-01, frame 0  quality \d+\.\d\d", head)
    assert seen_by.strip() == "seen by 01-02, 02-01"
    assert (film / picture.strip()).is_file()


def test_a_film_without_keyframes_says_so(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--memory-size", "0", "--no-export")
    assert storymem("memory", "list", film) == "no keyframes: it is made without memory\n"
    other = tmp_path / "other"
    storymem("generate", script, "-o", other, *options, "--no-export")
    monkeypatch.setattr("storymem.cli.memory._keyframes", lambda film: [])
    assert storymem("memory", "list", other) == "no keyframes yet: run `storymem generate`\n"
