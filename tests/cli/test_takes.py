"""Several takes of each shot, from the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

Storymem = Callable[..., str]


def test_takes_are_made_told_of_and_chosen_from(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film = tmp_path / "film"
    command = ("generate", script, "-o", film, *options, "--takes", "2", "--no-export")
    plan = storymem(*command, "--dry-run")
    assert "film seed 3; 2 takes of each shot\n" in plan
    made = storymem(*command)
    assert len(re.findall(r"made in .*take 1 of 2", made)) == 3
    assert "seed " not in made.split("\n", 1)[1], "whose seed is it?"
    facts = json.loads(storymem("status", film, "--json"))
    assert facts["settings"]["takes"] == 2
    assert facts["settings"]["critic"] == "none"
    assert [len(shot["takes"]) for shot in facts["shots"]] == [2, 2, 2]
    first, second = (take["key"] for take in facts["shots"][2]["takes"])
    assert facts["shots"][2]["chosen"] == first
    storymem("choose", film, "02-01", second[:16])
    assert "3 shots (3 done)" in storymem("generate", film, "--dry-run")


def test_the_small_model_has_a_critic_of_its_own(storymem: Storymem, tmp_path: Path) -> None:
    script = tmp_path / "pip.yaml"
    looks = "a little orange fox with a blue cap and a red scarf"
    script.write_text(
        f"title: Pip\ncast:\n  Pip: {looks}\nshots:\n  - Pip sleeps in the library at night. Close-up.\n",
        encoding="utf-8",
    )
    film = tmp_path / "film"
    command = ("generate", script, "-o", film, "--steps", "2", "--frames", "5", "--no-export")
    assert "3 takes of each shot, the critic storyland chooses" in storymem(*command, "--dry-run")
    events = [json.loads(line) for line in storymem(*command, "--json").splitlines()]
    chosen = [event for event in events if event["event"] == "take_chosen"]
    assert [event["shot_id"] for event in chosen] == ["portrait-pip", "01-01"]
    for event in chosen:
        assert len(set(event["scores"])) == 3
        assert event["take"] == 1 + event["scores"].index(max(event["scores"]))
    status = storymem("status", film)
    assert len(re.findall(r"score -?\d+\.\d\d .*(in the film|kept)", status)) == 6
    alone = storymem("generate", script, "-o", tmp_path / "one", "--steps", "2", "--frames", "5", "--takes", "1")
    assert "take 1 of" not in alone


def test_a_script_can_say_how_many(storymem: Storymem, script: Path, options: list[str], tmp_path: Path) -> None:
    script.write_text("defaults:\n  takes: 2\n" + script.read_text(encoding="utf-8"), encoding="utf-8")
    film = tmp_path / "film"
    assert "2 takes of each shot" in storymem("generate", script, "-o", film, *options, "--dry-run")
    assert "takes of each" not in storymem("generate", script, "-o", film, *options, "--takes", "1", "--dry-run")
    script.write_text(script.read_text(encoding="utf-8").replace("takes: 2", "takes: 0"), encoding="utf-8")
    assert "defaults.takes" in storymem("generate", script, "-o", film, *options, code=2)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--takes", "0"], "takes is 0; there must be at least 1 of each shot"),
        (["--takes", "2", "--critic", "nobody"], "The critic is 'nobody'; it must be one of none, storyland."),
        (["--critic", "storyland"], "contradict each other"),
    ],
)
def test_what_cannot_be_is_refused(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path, asked: list[str], words: str
) -> None:
    assert words in storymem("generate", script, "-o", tmp_path / "film", *options, *asked, code=2)
    assert not (tmp_path / "film").exists()


def test_takes_that_nobody_chooses_from_are_told_of(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    command = ("generate", script, "-o", tmp_path / "film", *options, "--dry-run")
    note = "note: nobody chooses among the 2 takes of each shot: the first goes into the film"
    assert note in storymem(*command, "--takes", "2")
    assert "nobody chooses" not in storymem(*command)
