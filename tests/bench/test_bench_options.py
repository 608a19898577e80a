"""Options of `storymem bench run` that no film can have, and what `bench compare` says of films that are missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from storymem.cli.app import app


def bench(*arguments: object) -> Result:
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, ["bench", *map(str, arguments)])


@pytest.mark.parametrize("option", [("--frames", -5), ("--frames", 0), ("--fps", 0), ("--fps", 999), ("--steps", 0)])
def test_numbers_that_no_film_can_have_are_refused(tmp_path: Path, option: tuple[str, int]) -> None:
    command = ("run", "storyland", "-o", tmp_path / "out", "--systems", "real", "--stories", 1, "--shots", 2)
    result = bench(*command, *option)
    assert result.exit_code == 2
    assert f"Invalid value for '{option[0]}'" in result.output
    assert not (tmp_path / "out").exists()


def test_means_over_fewer_stories_are_told(tmp_path: Path) -> None:
    bench(
        "run", "storyland", "-o", tmp_path, "--systems", "real,frozen", "--stories", 2, "--shots", 2, "--size", "48x32"
    )
    bench("score", tmp_path, "--reader", "none")
    said = "means are over the 1 of 2 stories"
    assert said not in bench("compare", tmp_path, "--sheets", 0).output
    scores = json.loads((tmp_path / "scores.json").read_text())
    del scores["systems"]["frozen"]["story-0001"]
    (tmp_path / "scores.json").write_text(json.dumps(scores))
    assert said in bench("compare", tmp_path, "--sheets", 0).output
