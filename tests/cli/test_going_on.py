"""What a film that is gone on with has decided, and what it leaves open."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storymem.errors import StoryMemError
from storymem.film.manifest import read_manifest, write_manifest
from storymem.film.pipeline_maker import PipelineShotMaker

Storymem = Callable[..., str]


def plan_of(output: str) -> dict[str, Any]:
    plan: dict[str, Any] = json.loads(output.splitlines()[-1])
    return plan


@pytest.mark.parametrize(("ends", "code"), [(KeyboardInterrupt(), 130), (StoryMemError("no memory"), 1)])
def test_options_of_a_start_that_made_nothing_do_not_stay(
    storymem: Storymem,
    script: Path,
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ends: BaseException,
    code: int,
) -> None:
    film = tmp_path / "film"

    def stopped(*_: object) -> None:
        raise ends

    with monkeypatch.context() as patch:
        patch.setattr(PipelineShotMaker, "make", stopped)
        storymem("generate", script, "-o", film, *options, "--steps", "900", code=code)
    assert (film / "film.json").is_file()
    plan = plan_of(storymem("generate", script, "-o", film, "--model", "tiny-random", "--dry-run", "--json"))
    assert (plan["settings"]["num_inference_steps"], plan["settings"]["num_frames"]) == (4, 17)
    (told,) = [note for note in plan["notes"] if "nothing is made yet" in note]
    assert f"{film}: nothing is made yet" in told
    assert "num_inference_steps 900 (asked for: 4)" in told
    # The film itself in place of a script is the film as it was begun.
    plan = plan_of(storymem("generate", film, "-o", film / ".." / "film", "--dry-run", "--json"))
    assert (plan["settings"]["num_inference_steps"], plan["settings"]["num_frames"]) == (900, 5)
    assert not any("nothing is made yet" in note for note in plan["notes"])
    # The same command again is what it was, and from the first take on its options are the film's.
    made = storymem("generate", script, "-o", film, *options, "--until", "01-01")
    assert "01-01  made" in made
    again = storymem("generate", script, "-o", film, "--no-export")
    assert again.count("is there already") == 1
    assert "nothing is made yet" not in again
    assert json.loads(storymem("status", film, "--json"))["settings"]["num_inference_steps"] == 2


def test_the_same_command_again_has_nothing_to_tell_of_a_start_that_made_nothing(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("generate", script, "-o", tmp_path / "film", *options)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PipelineShotMaker, "make", stopped)
        storymem(*command, code=130)
    plan = storymem(*command, "--dry-run")
    assert "3 shots (3 missing)" in plan
    assert "nothing is made yet" not in plan


def test_a_film_of_other_weights_is_remade_as_its_model_says_today(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    """A folder that says nothing of itself: its film keeps its size, and not what only weights can say."""
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--until", "01-01")
    path = film / "film.json"
    before = read_manifest(path.read_bytes(), path)
    sampling = replace(before.settings.sampling, blank="gradient", guidance_scale=7.0)
    settings = replace(before.settings, sampling=sampling, portrait_prompt="{name} of old.")
    path.write_bytes(write_manifest(replace(before, settings=settings, tools=replace(before.tools, model="0" * 64))))
    refused = storymem("generate", script, "-o", film, "--dry-run", code=2)
    assert "another model" in refused
    plan = plan_of(storymem("generate", script, "-o", film, "--remake", "--dry-run", "--json"))["settings"]
    assert (plan["width"], plan["height"], plan["num_frames"], plan["seed"]) == (48, 32, 5, 3)
    assert plan["blank"] == "zeros"
    assert plan["guidance_scale"] == 3.5
    assert plan["num_inference_steps"] == 40


def test_stopping_at_a_shot_of_another_size_is_no_mistake(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--no-export")
    told = storymem("generate", script, "-o", film, "--size", "64x48", "--remake", "--until", "01-01")
    assert "01-01  made" in told
    assert "Made up to 01-01, and not exported: run the same command without --until for the rest." in told
    assert not (film / "film.mp4").exists()
    assert storymem("generate", script, "-o", film, "--remake").count("made in") == 2
    assert (film / "film.mp4").is_file()


def test_portraits_that_are_made_again_are_shown_before_the_shots_are(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--portraits", "--no-export")
    told = storymem("generate", script, "-o", film, "--steps", "1", "--remake", "--until", "portraits")
    key = json.loads(storymem("status", film, "--json"))["portraits"][0]["chosen"]
    picture = film / "takes" / "portrait-rudi" / key[:16] / "keyframes" / "00.png"
    assert picture.is_file()
    assert f"portrait-rudi: {picture}\n" in told
    assert "Made up to portrait-rudi, and not exported" in told
    assert not (film / "film.mp4").exists()
    assert storymem("generate", script, "-o", film, "--remake", "--no-export").count("made in") == 3
    told = storymem("generate", script, "-o", film, "--until", "portraits", "--what", "film")  # nothing waits
    assert f"portrait-rudi: {picture}\n" in told
    assert (film / "film.mp4").is_file()
