"""Storyland as a suite of the bench: the truth fits the pictures, and readings are matched to it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from storymem.bench.metrics import attribute_agreement
from storymem.bench.suites import SuiteOptions
from storymem.media import to_uint8
from storymem.story import parse_story
from storymem.worlds.storyland import ground_truth, render, sample_story
from storymem.worlds.storyland.reader import HeroReading, ShotReading
from storymem.worlds.storyland.suite import StorylandReader, StorylandSuite, match_reading


def test_the_same_options_give_the_same_stories_and_truth() -> None:
    one, other = (StorylandSuite(SuiteOptions(stories=3, shots=4, seed=7)) for _ in range(2))
    assert one.stories() == other.stories()
    assert one.description() == other.description() == json.loads(json.dumps(one.description()))
    assert StorylandSuite(SuiteOptions(stories=3, shots=4, seed=8)).description() != one.description()


def test_truth_script_and_pictures_have_the_same_shots() -> None:
    suite = StorylandSuite(SuiteOptions(stories=4, shots=6, width=64, height=48, num_frames=9))
    for index, story in enumerate(suite.stories()):
        assert story.script is not None
        assert story.truth is not None
        shots = parse_story(story.script, "s.yaml", None).shots
        real = suite.real(index)
        assert len(shots) == len(story.truth) == len(real) == 6
        # What continues a shot does not repeat its last frame.
        assert [len(frames) for frames in real] == [9 if shot.cut else 8 for shot in shots]
        assert real[0][0].shape == (48, 64, 3)
        for shot in story.truth:
            assert shot["characters"]
            for hero in shot["characters"]:
                assert set(hero["visible"]) <= set(hero["attributes"])
                assert set(hero["told"]) <= set(hero["attributes"])
        assert "told" in story.truth[0]["characters"][0]
    assert any(
        not shot.cut for story in suite.stories() for shot in parse_story(story.script or "", "s.yaml", None).shots
    )


def reading(*heroes: dict[str, str | None]) -> ShotReading:
    return ShotReading("forest", "noon", "rainy", "wide", tuple(HeroReading(one, "stand", 0.5, 1.0) for one in heroes))


FOX = {"species": "fox", "hat": "cap", "accessory": None}
OWL = {"species": "owl", "hat": None, "accessory": "bag"}
TRUTH = {"characters": [{"attributes": FOX}, {"attributes": OWL}], "setting": {"place": "forest"}}


def test_heroes_are_matched_wherever_they_stand() -> None:
    seen = match_reading(reading(OWL, {**FOX, "hat": "crown"}), TRUTH)
    assert seen.characters == ({**FOX, "hat": "crown"}, OWL)
    assert attribute_agreement([FOX, OWL], seen.characters) == pytest.approx(5 / 6)
    assert seen.setting["weather"] == "rainy"


def test_a_hero_that_is_not_there_has_nothing_right() -> None:
    assert match_reading(reading(OWL), TRUTH).characters == ({}, OWL)
    nobody = match_reading(reading(), TRUTH)
    assert attribute_agreement([FOX, OWL], nobody.characters) == 0


def test_of_two_found_the_one_that_fits_is_meant() -> None:
    alone = {"characters": [{"attributes": OWL}], "setting": {}}
    assert match_reading(reading(FOX, OWL), alone).characters == (OWL,)


def test_the_reader_says_which_weights_it_has() -> None:
    assert StorylandReader().identity == StorylandReader().identity
    assert StorylandReader().identity.startswith("storyland-reader-1:")


def test_pictures_and_truth_are_at_the_frame_rate_of_the_films() -> None:
    suite = StorylandSuite(SuiteOptions(stories=4, shots=6, width=64, height=48, num_frames=9, fps=4))
    joined = moved = 0
    for index, story in enumerate(suite.stories()):
        drawn = sample_story(index, shots=6, heroes=1 + index % 2, num_frames=9, fps=4, continued=0.25)
        real = suite.real(index)
        for number, shot in enumerate(drawn.shots):
            if not shot.cut:  # one long shot with the one before it, but for how finely drawings are sampled
                before = drawn.shots[number - 1].spec
                whole = to_uint8(render([before], 17, 48, 64, fps=4).permute(0, 2, 1, 3, 4).numpy())[0]
                parts = np.stack([*real[number - 1], *real[number]])
                assert np.abs(parts.astype(int) - whole).mean(axis=(1, 2, 3)).max() < 0.5
                joined += 1
        for shot, true in zip(drawn.shots, story.truth or (), strict=True):
            visible = [hero["visible"] for hero in ground_truth(shot.spec, 9, 48, 64, fps=4)["heroes"]]
            assert [hero["visible"] for hero in true["characters"]] == visible
            moved += visible != [hero["visible"] for hero in ground_truth(shot.spec, 9, 48, 64)["heroes"]]
    assert joined
    assert moved  # what is seen in the middle frame is not what is seen at another rate
