from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

import pytest

from storymem.errors import SettingsError
from storymem.film.film_settings import FilmSettings
from storymem.film.portraits import portraits_of
from storymem.story import parse_story
from storymem.worlds.storyland import (
    ATTRIBUTES,
    ground_truth,
    sample_group,
    sample_shot,
    sample_story,
    split_of,
    stbench_script,
    story_script,
    story_truth,
)
from storymem.worlds.storyland.captions import describe
from storymem.worlds.storyland.shots import ACTIONS, MOVING
from storymem.worlds.storyland.source import StorylandSource

SEEDS = range(40)


@pytest.mark.parametrize("heroes", [1, 2])
def test_scripts_are_read_back_shot_by_shot(heroes: int) -> None:
    for seed in SEEDS:
        story = sample_story(seed, heroes=heroes)
        for text, name in ((story_script(story), "story.yaml"), (stbench_script(story), "story.json")):
            read = parse_story(text, name, None)
            assert read.title == story.title
            assert [s.full_prompt for s in read.shots] == [s.prompt for s in story.shots]
            assert [s.cut for s in read.shots] == [s.cut for s in story.shots]
            assert [s.scene for s in read.shots] == [s.scene for s in story.shots]


def test_a_script_with_its_cast_tells_the_looks_in_every_prompt_with_a_name() -> None:
    story = sample_story(4, heroes=2)
    read = parse_story(story_script(story, cast=True), "story.yaml", None)
    assert {c.name for c in read.cast} == set(story.names)
    shot = next(s for s, told in zip(read.shots, story.shots, strict=True) if told.style == "brief")
    assert len(shot.full_prompt) > len(shot.prompt) + 20


@pytest.mark.parametrize("cast", [False, True])
def test_a_script_with_portraits_tells_the_looks_there(cast: bool) -> None:
    story = sample_story(4, heroes=2)
    read = parse_story(story_script(story, cast=cast, portraits="{name} waves."), "story.yaml", None)
    assert [bool(character.description) for character in read.cast] == [cast, cast]
    told = [shot.full_prompt for shot in portraits_of(read, FilmSettings())]
    assert told == [f"{n}, {describe(h)}, waves." for n, h in zip(story.names, story.heroes, strict=True)]
    shots = parse_story(story_script(story, cast=cast), "story.yaml", None).shots
    assert [shot.full_prompt for shot in read.shots] == [shot.full_prompt for shot in shots]


@pytest.mark.parametrize("heroes", [1, 2])
def test_the_first_shot_of_a_hero_tells_the_looks_and_later_ones_do_not(heroes: int) -> None:
    for seed in SEEDS:
        story = sample_story(seed, heroes=heroes)
        seen: set[str] = set()
        for shot in story.shots:
            names = {actor.name for actor in shot.spec.actors}
            assert shot.style == ("full" if names - seen else shot.style)
            if names <= seen:
                assert shot.style in (("name", "hero") if heroes == 1 else ("brief",))
            else:
                assert shot.spec.shot_type != "close-up"
                for hero in ground_truth(shot.spec)["heroes"]:
                    assert hero["visible"] == list(ATTRIBUTES)
            seen |= names
        assert seen == set(story.names)


def test_stories_and_groups_follow_from_their_seeds() -> None:
    assert sample_story(3) == sample_story(3)
    assert sample_story(3) != sample_story(4)
    assert sample_group(3) == sample_group(3)
    assert sample_group(3) != sample_group(4)
    assert sample_shot(3, "train") != sample_shot(3, "test")


def test_nothing_of_a_test_story_was_in_training() -> None:
    for seed in SEEDS:
        story, group = sample_story(seed, heroes=2), sample_group(seed)
        assert {split_of(hero) for hero in story.heroes} == {"test"}
        assert {split_of(hero) for hero in group.heroes} == {"train"}
        assert {split_of(hero) for hero in sample_group(seed, "validation").heroes} == {"validation"}
        assert {shot.spec.place.layout % 4 for shot in story.shots} == {1}
        assert {clip.spec.place.layout % 4 for clip in group.clips} == {0}


def test_the_heroes_of_a_story_are_not_alike() -> None:
    for seed in SEEDS:
        one, two = sample_story(seed, heroes=2).heroes
        assert one.species != two.species
        assert one.colour != two.colour


def test_a_shot_without_a_cut_goes_on_where_the_last_one_ended() -> None:
    stories = [sample_story(seed, num_frames=17, fps=16) for seed in SEEDS]
    pairs = [(a, b) for story in stories for a, b in pairwise(story.shots) if not b.cut]
    assert len(pairs) > 5
    for before, after in pairs:
        assert after.spec == before.spec.continued(1.0)
        assert after.scene == before.scene


def test_scenes_keep_their_place_time_and_weather() -> None:
    for seed in SEEDS:
        for a, b in pairwise(sample_story(seed, shots=12, heroes=2).shots):
            if a.scene == b.scene:
                assert (a.spec.place, a.spec.time, a.spec.weather) == (b.spec.place, b.spec.time, b.spec.weather)


@pytest.mark.parametrize("shots", [2, 5, 8, 20])
def test_stories_have_the_length_that_was_asked_for(shots: int) -> None:
    assert len(sample_story(1, shots=shots, heroes=2).shots) == shots


def test_the_truth_of_a_story_says_what_the_prompts_tell() -> None:
    truth = json.loads(json.dumps(story_truth(sample_story(2, heroes=2))))
    assert [h["split"] for h in truth["heroes"]] == ["test", "test"]
    assert truth["shots"][0]["heroes"][0]["told"] == list(ATTRIBUTES)
    assert truth["shots"][-1]["heroes"][0]["told"] == ["species"]


def test_groups_share_heroes_and_every_clip_has_memory() -> None:
    for seed in SEEDS:
        group = sample_group(seed, clips=12)
        assert len(group.clips) == 12
        for index, clip in enumerate(group.clips):
            assert clip.spec.place in group.places
            assert {actor.hero for actor in clip.spec.actors} <= set(group.heroes)
            subjects = group.subjects(index)
            for actor, showing in zip(clip.spec.actors, subjects, strict=True):
                names = [{a.name for a in other.spec.actors} for other in group.clips]
                assert set(showing) == {i for i, some in enumerate(names) if actor.name in some} - {index}
            assert set.intersection(*map(set, subjects)), "each cast is in at least two clips"
            if len(group.heroes) == 2:
                assert clip.style in ("full", "look", "brief")


def _short(**options: float) -> float:
    styles = [clip.style for seed in range(60) for clip in sample_group(seed, **options).clips]
    return sum(style in ("brief", "name", "hero") for style in styles) / len(styles)


def test_half_of_the_captions_of_groups_leave_the_looks_to_memory() -> None:
    assert 0.5 < _short() < 0.7


@pytest.mark.parametrize(("told", "low", "high"), [(0.0, 1.0, 1.0), (0.15, 0.8, 0.9), (1.0, 0.0, 0.0)])
def test_how_many_captions_tell_the_looks_can_be_said(told: float, low: float, high: float) -> None:
    assert low <= _short(told=told) <= high


def test_sampling_and_scripts_do_not_import_torch() -> None:
    code = (
        "import sys; from storymem.worlds.storyland import sample_story, story_script, story_truth, caption;"
        "s = sample_story(1); story_script(s); story_truth(s); sys.exit(3 if 'torch' in sys.modules else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_groups_show_both_heroes_as_often_as_is_said() -> None:
    def casts(together: float | None) -> list[list[int]]:
        groups = (sample_group(seed, clips=9, two_heroes=1.0, together=together) for seed in range(60))
        return [[len(clip.spec.actors) for clip in group.clips] for group in groups]

    assert all(cast.count(2) >= 1 and cast.count(1) >= 2 for cast in casts(1.0))
    for together, least, most in ((1.0, 7, 7), (0.0, 1, 1), (0.5, 3.5, 4.5), (None, 2.5, 3.5)):
        mean = sum(cast.count(2) for cast in casts(together)) / 60
        assert least <= mean <= most, (together, mean)
    lone = sample_group(3, clips=9, two_heroes=0.0, together=1.0)
    assert {len(clip.spec.actors) for clip in lone.clips} == {1}


def test_groups_with_portraits_begin_with_one_of_each_hero() -> None:
    for seed in range(20):
        group = sample_group(seed, clips=5, two_heroes=0.6, told=0.3, together=0.6, portraits=1)
        portraits = [index for index, clip in enumerate(group.clips) if clip.portrait]
        introduced = sorted(group.clips[index].spec.actors[0].name for index in portraits)
        assert introduced == sorted(group.names)
        for index in portraits:
            spec = group.clips[index].spec
            assert (len(spec.actors), spec.actors[0].action, spec.place.kind, spec.time) == (
                1,
                "wave",
                "meadow",
                "noon",
            )
            assert (spec.weather, spec.shot_type, spec.camera) == ("clear", "medium", "static")
            assert group.clips[index].style == "full"
        for index, clip in enumerate(group.clips):
            for actor, others in zip(clip.spec.actors, group.subjects(index), strict=True):
                names = [{one.name for one in group.clips[other].spec.actors} for other in others]
                assert all(actor.name in name for name in names)
                assert index not in others
                if not clip.portrait:  # a shot remembers its heroes by their portraits
                    assert [group.clips[other].portrait for other in others] == [True]


def test_where_there_are_no_portraits_groups_are_as_they_were() -> None:
    plain = [sample_group(seed, clips=5, together=0.6) for seed in range(40)]
    assert plain == [sample_group(seed, clips=5, together=0.6, portraits=0) for seed in range(40)]
    assert not any(clip.portrait for group in plain for clip in group.clips)
    some = [sample_group(seed, clips=5, together=0.6, portraits=0.5) for seed in range(40)]
    assert 8 < sum(any(clip.portrait for clip in group.clips) for group in some) < 32


def test_some_actions_can_be_drawn_more_often() -> None:
    def share(actions: dict[str, float] | None, portraits: float = 0.0) -> dict[str, float]:
        groups = [sample_group(seed, two_heroes=0.3, portraits=portraits, actions=actions) for seed in range(150)]
        done = [actor.action for group in groups for clip in group.clips for actor in clip.spec.actors]
        return {action: done.count(action) / len(done) for action in ACTIONS}

    plain, often = share(None), share({"jump": 4, "walk": 4})
    assert 2.5 < often["jump"] / plain["jump"] < 4
    assert 2.5 < often["walk"] / plain["walk"] < 4
    assert often["dance"] < 0.8 * plain["dance"]
    assert share({"wave": 1e-9}, portraits=1.0)["wave"] > 0  # portraits wave, whatever others do


def test_two_heroes_never_move_however_often_it_is_drawn() -> None:
    groups = [sample_group(seed, two_heroes=1.0, together=1.0, actions={"walk": 50, "run": 50}) for seed in range(20)]
    pairs = [clip.spec.actors for group in groups for clip in group.clips if len(clip.spec.actors) == 2]
    assert pairs
    assert not any(actor.action in MOVING for actors in pairs for actor in actors)


def test_options_of_the_source_reach_what_heroes_do() -> None:
    asked = StorylandSource(112, 64, 17, {"actions": {"walk": 2, "jump": 9}})
    assert asked.identity == StorylandSource(112, 64, 17, {"actions": {"jump": 9, "walk": 2}}).identity
    assert asked.identity != StorylandSource(112, 64, 17, {}).identity
    said = " ".join(asked.captions(160))
    plain = " ".join(StorylandSource(112, 64, 17, {}).captions(160))
    assert said.count("jump") > 2 * plain.count("jump")
    with pytest.raises(SettingsError, match=r"data.options.actions: nobody can 'fly'; actions are stand, walk,"):
        StorylandSource(112, 64, 17, {"actions": {"fly": 2}})
    with pytest.raises(SettingsError, match=r"data.options.actions.jump"):
        StorylandSource(112, 64, 17, {"actions": {"jump": 0}})
