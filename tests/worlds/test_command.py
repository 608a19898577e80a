from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from storymem.cli.world import app
from storymem.errors import SettingsError
from storymem.media import probe_video, read_image
from storymem.story import load_story

RUN = CliRunner()


def test_a_preview_is_a_contact_sheet(tmp_path: Path) -> None:
    file = tmp_path / "sheet.png"
    result = RUN.invoke(app, ["preview", "-o", str(file), "--shots", "7", "--size", "112x64"])
    assert result.exit_code == 0, result.output
    assert read_image(file).shape == (3, 2 * 68 + 4, 5 * 116 + 4)
    again = tmp_path / "again.png"
    RUN.invoke(app, ["preview", "-o", str(again), "--shots", "7", "--size", "112x64"])
    assert file.read_bytes() == again.read_bytes()


def test_a_preview_moves(tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    result = RUN.invoke(app, ["preview", "-o", str(file), "--shots", "2", "--size", "112x64"])
    assert result.exit_code == 0, result.output
    info = probe_video(file)
    assert (info.width, info.height, info.num_frames) == (112, 64, 66)


@pytest.mark.parametrize("name", ["story.yaml", "story.json"])
def test_a_story_can_be_loaded_and_comes_with_its_truth(name: str, tmp_path: Path) -> None:
    file, truth = tmp_path / name, tmp_path / "truth.json"
    result = RUN.invoke(app, ["story", "-o", str(file), "--seed", "5", "--heroes", "2", "--truth", str(truth)])
    assert result.exit_code == 0, result.output
    shots = load_story(file).shots
    told = json.loads(truth.read_text(encoding="utf-8"))["shots"]
    assert [shot.prompt for shot in shots] == [shot["prompt"] for shot in told]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["preview", "-o", "sheet.gif"], "a .png or an .mp4"),
        (["preview", "-o", "sheet.png", "--size", "large"], "WIDTHxHEIGHT"),
        (["preview", "-o", "sheet.png", "--size", "100x64"], "multiples of 16"),
        (["story", "-o", "story.yaml", "--split", "both"], "train, validation, test"),
    ],
)
def test_mistakes_are_explained(arguments: list[str], message: str) -> None:
    result = RUN.invoke(app, arguments)
    assert isinstance(result.exception, SettingsError)
    assert message in str(result.exception)
