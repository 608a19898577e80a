from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from storymem.worlds.storyland import ATTRIBUTES, WorldStory, sample_story, story_truth
from storymem.worlds.storyland.reader import HeroReading, ShotReading
from storymem.worlds.storyland.scoring import FIGURES, Mark, figure, figures, match_heroes, score_story, wilson

STORIES = [sample_story(seed, heroes=heroes) for seed in range(3) for heroes in (1, 2)]


def hero_as_it_is(hero: dict[str, Any], x: float) -> HeroReading:
    return HeroReading(hero["attributes"], hero["action"], x, 1.0)


def perfect(shot: dict[str, Any]) -> ShotReading:
    """What a reader that is always right reads; where there is nothing to see, it says something too."""
    heroes = tuple(hero_as_it_is(hero, (i + 1) / 3) for i, hero in enumerate(shot["heroes"]))
    return ShotReading(shot["place"], shot["time"] or "noon", shot["weather"] or "clear", shot["shot_type"], heroes)


def marks_of(story: WorldStory, change: Any = lambda reading: reading) -> list[Mark]:
    truth = story_truth(story)
    return score_story(truth, [change(perfect(shot)) for shot in truth["shots"]])


def other_looks(reading: ShotReading) -> ShotReading:
    """Both heroes in each other's place."""
    return replace(reading, heroes=tuple(reversed(reading.heroes)))


def test_what_is_as_it_should_be_scores_full_marks() -> None:
    found = figures([marks_of(story) for story in STORIES])
    assert set(found) == set(FIGURES)
    for title, one in found.items():
        assert one["share"] == (0.0 if title == "swapped" else 1.0), title
        assert one["n"] == sum(part["n"] for part in one["by"].values())
    assert 0.05 < found["identity"]["chance"] < 0.35
    assert found["identity"]["n"] == found["identity, one hero"]["n"] + found["identity, two heroes"]["n"]


def test_only_what_is_untold_and_visible_counts_as_identity() -> None:
    for story in STORIES:
        truth = story_truth(story)
        wanted = 0
        introduced: set[str] = set()
        for shot in truth["shots"]:
            for hero in shot["heroes"]:
                if hero["name"] in introduced and shot["cut"]:
                    wanted += sum(
                        name in hero["visible"]
                        and name not in hero["told"]
                        and not (name.endswith("_colour") and hero["attributes"][name] is None)
                        for name in ATTRIBUTES
                    )
                introduced.add(hero["name"])
        assert sum(mark.figure == "identity" for mark in marks_of(story)) == wanted


def test_two_heroes_are_told_apart_by_their_species_wherever_they_stand() -> None:
    two = [story for story in STORIES if len(story.heroes) == 2]
    assert figures([marks_of(story, other_looks) for story in two])["identity, two heroes"]["share"] == 1


def test_each_with_the_others_looks_is_seen_as_swapped() -> None:
    def swap(reading: ShotReading) -> ShotReading:
        if len(reading.heroes) < 2:
            return reading
        left, right = reading.heroes
        return replace(
            reading,
            heroes=(
                replace(left, attributes={**right.attributes, "species": left.attributes["species"]}),
                replace(right, attributes={**left.attributes, "species": right.attributes["species"]}),
            ),
        )

    two = [story for story in STORIES if len(story.heroes) == 2]
    found = figures([marks_of(story, swap) for story in two])
    assert found["swapped"]["share"] == 1
    assert found["identity, both in the shot"]["share"] < 0.4  # what the two have in common
    assert found["identity against the truth, two heroes"]["share"] < 1


def test_a_hero_who_is_not_there_is_wrong_in_everything() -> None:
    found = figures([marks_of(story, lambda reading: replace(reading, heroes=())) for story in STORIES])
    for title in ("identity", "identity against the truth", "looks as told", "action", "heroes"):
        assert found[title]["share"] == 0, title
    assert found["place"]["share"] == 1


def test_identity_is_judged_by_the_first_shot_and_not_by_what_was_asked_for() -> None:
    def always_a_frog(reading: ShotReading) -> ShotReading:
        return replace(
            reading,
            heroes=tuple(replace(h, attributes={**h.attributes, "species": "frog"}) for h in reading.heroes),
        )

    story = next(s for s in STORIES if len(s.heroes) == 1 and s.heroes[0].species != "frog")
    found = figures([marks_of(story, always_a_frog)])
    assert found["identity"]["share"] == 1
    assert found["identity against the truth"]["by"]["species"]["share"] == 0
    assert found["looks as told"]["by"]["species"]["share"] == 0


def test_one_hero_is_meant_where_two_are_found() -> None:
    story = STORIES[0]
    hero = story_truth(story)["shots"][0]["heroes"][0]
    sure, passing = hero_as_it_is(hero, 0.2), replace(hero_as_it_is(hero, 0.5), seen=0.4)
    assert match_heroes([hero], [sure, passing]) == [sure]
    assert match_heroes([hero], [sure, replace(passing, seen=1.0)]) == [replace(passing, seen=1.0)]
    assert match_heroes([hero], []) == [None]


@pytest.mark.parametrize(("right", "count"), [(8, 10), (1, 4), (350, 400)])
def test_the_interval_of_wilson_ends_where_the_share_is_just_believable(right: int, count: int) -> None:
    for edge in wilson(right, count):
        # If the truth were there, what was seen would be 1.96 standard deviations off.
        assert abs(right / count - edge) == pytest.approx(1.959964 * (edge * (1 - edge) / count) ** 0.5)


def test_the_interval_of_wilson_stays_a_share() -> None:
    assert wilson(0, 5)[0] == pytest.approx(0, abs=1e-12)
    assert wilson(5, 5)[1] == pytest.approx(1, abs=1e-12)


def test_many_stories_are_drawn_again_and_few_are_not() -> None:
    right, wrong = Mark("place", "place", True, 0.5), Mark("place", "place", False, 0.25)
    few = figure([[right, wrong]] * 2)
    assert few is not None
    assert few["interval"] == "wilson"
    assert few["chance"] == 0.375
    many = figure([[right] * 4] * 5 + [[wrong] * 4] * 5)
    assert many is not None
    assert many["interval"] == "bootstrap over stories"
    # Ten stories of which each is right or wrong as a whole say what ten marks say, not what forty do.
    assert many["low"] <= 0.25
    assert many["high"] >= 0.75
    assert figure([[], []]) is None
