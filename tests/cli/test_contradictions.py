"""Options that rule each other out, and those that change nothing beside others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Storymem = Callable[..., str]


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (["--portraits"], ["--memory-size", "0"], "leave --portraits out, or give a larger --memory-size."),
        (["--quality", "5"], ["--scorer", "none"], "leave --quality out, or give another --scorer"),
    ],
)
def test_options_that_rule_each_other_out_are_refused(
    storymem: Storymem, script: Path, tmp_path: Path, one: list[str], other: list[str], words: str
) -> None:
    command = ("generate", script, "-o", tmp_path / "film", "--model", "tiny-random")
    told = storymem(*command, *one, *other, code=2)
    assert "contradict each other" in told
    assert words in told
    assert not (tmp_path / "film").exists()
    for alone in (one, other):
        assert "missing" in storymem(*command, *alone, "--dry-run")


def test_what_is_asked_for_and_changes_nothing_is_told(storymem: Storymem, script: Path, tmp_path: Path) -> None:
    asked = ("--memory-size", "0", "--memory-guidance", "3", "--keyframes", "7", "--guidance-every", "3", "--batch-cfg")
    plan = storymem("generate", script, "-o", tmp_path / "film", *asked, "--dry-run")
    assert "note: --memory-guidance, --keyframes have no effect without a memory" in plan
    assert "note: --guidance-every has no effect at guidance 1" in plan
    assert "note: --batch-cfg has no effect at guidance 1" in plan
