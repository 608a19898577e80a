"""`storymem world story` writes scripts, and over nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from storymem.cli.world import app
from storymem.errors import ScriptError, SettingsError
from storymem.story import load_story


def write(*arguments: object) -> None:
    CliRunner().invoke(app, ["story", *map(str, arguments)], catch_exceptions=False)


@pytest.mark.parametrize("name", ["story.yaml", "story.json"])
def test_a_story_is_a_script_with_its_truth(tmp_path: Path, name: str) -> None:
    write("-o", tmp_path / name, "--shots", 3, "--truth", tmp_path / "truth.json")
    shots = load_story(tmp_path / name).shots
    assert len(shots) == 3
    assert len(json.loads((tmp_path / "truth.json").read_text())["shots"]) == 3


def test_a_cast_tells_the_looks_wherever_a_name_stands(tmp_path: Path) -> None:
    write("-o", tmp_path / "bare.yaml", "--heroes", 2)
    write("-o", tmp_path / "cast.yaml", "--heroes", 2, "--cast")
    bare, described = load_story(tmp_path / "bare.yaml"), load_story(tmp_path / "cast.yaml")
    assert not bare.cast
    assert len(described.cast) == 2
    assert [shot.prompt for shot in described.shots] == [shot.prompt for shot in bare.shots]
    short = [shot for shot in described.shots if described.cast[0].description not in shot.prompt]
    assert any(described.cast[0].description in shot.full_prompt for shot in short)


def test_st_bench_has_no_place_for_a_cast(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"ST-Bench has no cast; name the script \.yaml, not story\.json"):
        write("-o", tmp_path / "story.json", "--cast")
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    with pytest.raises(ScriptError, match="exists and is not overwritten"):
        write("-o", path)
    assert path.read_text() == "mine"
    with pytest.raises(ScriptError, match="the name of such a script ends in"):
        write("-o", tmp_path / "mine.txt")
    with pytest.raises(ScriptError, match="make it first"):
        write("-o", tmp_path / "none" / "mine.yaml")


def test_no_script_without_its_truth(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text("mine")
    with pytest.raises(ScriptError, match=r"truth\.json: exists and is not overwritten"):
        write("-o", tmp_path / "story.yaml", "--truth", tmp_path / "truth.json")
    with pytest.raises(SettingsError, match="is the script's own name"):
        write("-o", tmp_path / "story.json", "--truth", tmp_path / "story.json")
    assert [path.name for path in tmp_path.iterdir()] == ["truth.json"]
