"""Storyland's critic: true drawings please it more than those in which one thing is not as told or as remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from storymem.errors import MediaError, ModelError
from storymem.memory.bank import FloatArray
from storymem.worlds.storyland import caption, render, sample_shot
from storymem.worlds.storyland.captions import CaptionStyle
from storymem.worlds.storyland.critic import _KEPT, StorylandCritic
from storymem.worlds.storyland.heroes import HATS, SPECIES, Hero
from storymem.worlds.storyland.palette import COLOURS
from storymem.worlds.storyland.reader import load_reader
from storymem.worlds.storyland.reader_training import save_reader
from storymem.worlds.storyland.shots import Actor, ShotSpec

FRAMES, HEIGHT, WIDTH = 17, 64, 112
PAIRS = 20
NOTHING = np.zeros((0, 3, HEIGHT, WIDTH), np.float32)


@pytest.fixture(scope="module")
def critic() -> StorylandCritic:
    return StorylandCritic()


def drawn(spec: ShotSpec) -> FloatArray:
    return render([spec], FRAMES, HEIGHT, WIDTH)[0].transpose(0, 1).contiguous().numpy()


def shot(number: int, heroes: int = 1) -> ShotSpec:
    """Heroes whom the reader never saw, near enough to be read."""
    return replace(sample_shot(number, "test", two_heroes=heroes - 1), shot_type="medium")


def portraits(number: int, spec: ShotSpec) -> FloatArray:
    """A picture of each hero, somewhere else: ``[heroes, 3, H, W]``."""
    pictures = []
    for index, actor in enumerate(spec.actors):
        elsewhere = shot(7777 + number + index)
        other = replace(elsewhere.actors[0], hero=actor.hero, name=actor.name, action="wave")
        pictures.append(drawn(replace(elsewhere, camera="static", actors=(other,)))[FRAMES // 2])
    return np.stack(pictures)


def another(values: Sequence[str], value: str | None, rng: Random) -> str:
    return rng.choice([other for other in values if other != value])


def with_first(spec: ShotSpec, actor: Actor) -> ShotSpec:
    return replace(spec, actors=(actor, *spec.actors[1:]))


def changed(spec: ShotSpec, what: str, rng: Random) -> ShotSpec:
    """The same shot with one thing about its first hero, or its number of heroes, that is not so."""
    actor = spec.actors[0]
    hero = actor.hero
    match what:
        case "hat":
            colour = hero.hat_colour or another(COLOURS, hero.colour, rng)
            new = replace(hero, hat=another(HATS, hero.hat, rng), hat_colour=colour)
        case "species":
            new = replace(hero, species=another(SPECIES, hero.species, rng))
        case "colour":
            new = replace(hero, colour=another(COLOURS, hero.colour, rng))
        case "action":
            still = ("stand", "wave", "sleep", "read", "eat", "sing", "look")
            return with_first(spec, replace(actor, action=another(still, actor.action, rng)))
        case _:
            number = spec.actors[:1] if len(spec.actors) == 2 else shot(rng.randrange(1000), 2).actors
            return replace(spec, actors=number)
    return with_first(spec, replace(actor, hero=new))


def exchanged(spec: ShotSpec) -> ShotSpec:
    """Of two heroes each wears what is the other's, and has the other's fur."""
    left, right = spec.actors

    def as_other(hero: Hero, other: Hero) -> Hero:
        return replace(other, species=hero.species, build=hero.build)

    heroes = as_other(left.hero, right.hero), as_other(right.hero, left.hero)
    return replace(spec, actors=(replace(left, hero=heroes[0]), replace(right, hero=heroes[1])))


def share(critic: StorylandCritic, style: CaptionStyle, what: str, heroes: int = 1) -> float:
    """Of pairs of a true take and one that is not, in how many the true one has the better score."""
    right = []
    for number in range(PAIRS):
        spec = shot(number, heroes)
        wrong = exchanged(spec) if what == "exchanged" else changed(spec, what, Random(number))
        pictures = NOTHING if style == "full" else portraits(number, spec)
        prompt = caption(spec, style)
        true, false = (
            critic.score(drawn(take), prompt=prompt, characters=(), pictures=pictures) for take in (spec, wrong)
        )
        right.append(true > false)
    return float(np.mean(right))


@pytest.mark.parametrize("what", ["hat", "species", "colour", "action", "number"])
@pytest.mark.parametrize("style", ["full", "brief", "name"])
def test_the_right_hero_is_liked_better(critic: StorylandCritic, style: CaptionStyle, what: str) -> None:
    """Told in the prompt in full, or shown by a picture of which the prompt says no more than who it is."""
    assert share(critic, style, what) >= 0.9


@pytest.mark.parametrize("what", ["exchanged", "number"])
@pytest.mark.parametrize("style", ["full", "brief"])
def test_of_two_each_has_their_own_looks(critic: StorylandCritic, style: CaptionStyle, what: str) -> None:
    assert share(critic, style, what, heroes=2) >= 0.95


def test_two_may_stand_in_any_order_and_pictures_come_in_any(critic: StorylandCritic) -> None:
    spec = shot(3, 2)
    pictures, frames = portraits(3, spec), drawn(spec)
    (left, right), places = spec.actors, [actor.x for actor in spec.actors]
    other = replace(spec, actors=(replace(right, x=places[0]), replace(left, x=places[1])))
    prompts = caption(spec, "brief"), caption(other, "brief")
    scores = [
        critic.score(frames, prompt=prompt, characters=(), pictures=some)
        for prompt in prompts
        for some in (pictures, pictures[::-1])
    ]
    np.testing.assert_allclose(scores, scores[0], rtol=1e-6)


def test_where_nobody_is_named_somebody_known_should_be_there(critic: StorylandCritic) -> None:
    """As "she" may be anybody."""
    spec, prompt = shot(5), "It is a quiet evening."
    pictures, stranger = portraits(5, spec), changed(changed(spec, "species", Random(0)), "colour", Random(0))
    empty = np.full((FRAMES, 3, HEIGHT, WIDTH), 0.3, np.float32)
    true, strange, nobody = (
        critic.score(frames, prompt=prompt, characters=None, pictures=pictures)
        for frames in (drawn(spec), drawn(stranger), empty)
    )
    assert true > strange > nobody
    assert critic.score(drawn(spec), prompt=prompt, characters=None, pictures=()) == 0.0  # nothing to compare with
    assert critic.score(empty, prompt=prompt, characters=None, pictures=()) == 0.0


def test_where_nobody_is_shown_nobody_should_be_there(critic: StorylandCritic) -> None:
    spec, prompt = shot(5), "The beach."
    empty = np.full((FRAMES, 3, HEIGHT, WIDTH), 0.3, np.float32)
    nobody, somebody = (
        critic.score(frames, prompt=prompt, characters=(), pictures=portraits(5, spec))
        for frames in (empty, drawn(spec))
    )
    assert nobody > somebody


def test_all_who_are_shown_should_be_there(critic: StorylandCritic) -> None:
    """The prompt tells of what one of them does, or of nothing that captions know."""
    both = shot(4, 2)
    alone = replace(both, actors=both.actors[:1])
    pictures = portraits(4, both)
    names = tuple(actor.name for actor in both.actors)
    for prompt in (f"{names[0]} waves to {names[1]}.", f"{names[0]} and {names[1]} are friends."):
        two, one = (
            critic.score(drawn(spec), prompt=prompt, characters=names, pictures=pictures) for spec in (both, alone)
        )
        assert two > one
    twins = replace(both, actors=tuple(replace(actor, hero=both.actors[0].hero) for actor in both.actors))
    right, wrong = (
        critic.score(drawn(spec), prompt="Friends.", characters=names, pictures=pictures) for spec in (both, twins)
    )
    assert right > wrong


def test_without_heroes_is_worse_than_with_a_wrong_one(critic: StorylandCritic) -> None:
    spec = shot(4)
    nobody = np.full((FRAMES, 3, HEIGHT, WIDTH), 0.3, np.float32)
    wrong = drawn(changed(spec, "species", Random(1)))
    one, two = caption(spec, "brief"), caption(shot(4, 2), "brief")
    empty = critic.score(nobody, prompt=one, characters=(), pictures=NOTHING)
    assert critic.score(wrong, prompt=one, characters=(), pictures=NOTHING) > empty
    assert critic.score(nobody, prompt=two, characters=(), pictures=NOTHING) == 2 * empty
    # Pictures of nobody tell nothing.
    assert critic.score(wrong, prompt=one, characters=(), pictures=nobody[:2]) == critic.score(
        wrong, prompt=one, characters=(), pictures=NOTHING
    )


def test_it_says_the_same_again_with_and_without_what_it_has_in_mind() -> None:
    spec = shot(6, 2)
    frames, pictures, prompt = drawn(spec), portraits(6, spec), caption(spec, "brief")
    critic = StorylandCritic()
    first = critic.score(frames, prompt=prompt, characters=(), pictures=pictures)
    assert isinstance(first, float)
    assert critic.score(frames, prompt=prompt, characters=(), pictures=pictures.copy()) == first
    assert critic.score(frames.copy(), prompt=prompt, characters=(), pictures=pictures) == first
    assert StorylandCritic().score(frames, prompt=prompt, characters=(), pictures=pictures) == first
    many = np.random.default_rng(0).uniform(-1, 1, (_KEPT + 5, 3, 16, 16)).astype(np.float32)
    for picture in many:
        critic.score(frames[:1], prompt=prompt, characters=(), pictures=picture[None])
    assert len(critic._remembered) == _KEPT
    assert critic.score(frames, prompt=prompt, characters=(), pictures=pictures) == first


def test_weights_of_ones_own_are_read(tmp_path: Path, critic: StorylandCritic) -> None:
    reader = load_reader(shipped="judge.safetensors")
    with torch.no_grad():
        reader.network.hero_heads["hat"].bias.add_(torch.arange(8.0))
    save_reader(reader.network, tmp_path / "other.safetensors", reader.accuracy, reader.about)
    spec = shot(3)
    scores = [
        some.score(drawn(spec), prompt=caption(spec, "full"), characters=(), pictures=())
        for some in (critic, StorylandCritic(tmp_path / "other.safetensors"))
    ]
    assert scores[0] != scores[1]
    with pytest.raises(ModelError):
        StorylandCritic(tmp_path / "none.safetensors")


@pytest.mark.parametrize("shape", [(0, 3, 64, 112), (3, 64, 112), (5, 1, 64, 112)])
def test_what_is_no_take_is_refused(critic: StorylandCritic, shape: tuple[int, ...]) -> None:
    with pytest.raises(MediaError):
        critic.score(np.zeros(shape, np.float32), prompt="Milo waves.", characters=(), pictures=NOTHING)
    if shape[0]:
        with pytest.raises(MediaError):
            critic.score(
                np.zeros((1, 3, 64, 112), np.float32), prompt="", characters=(), pictures=np.zeros(shape, np.float32)
            )
