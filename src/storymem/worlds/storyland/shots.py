"""What one shot of Storyland shows: a value that says everything the renderer, the captions and the truth need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from storymem.worlds.storyland.heroes import Hero, Split, sample_heroes, sample_names
from storymem.worlds.storyland.places import PLACES, TIMES, WEATHERS, Place, sample_place

__all__ = ["ACTIONS", "CAMERAS", "MOVING", "SHOT_TYPES", "Actor", "ShotSpec", "sample_shot", "stage"]

ACTIONS = ("stand", "walk", "run", "jump", "wave", "dance", "sit", "sleep", "read", "eat", "sing", "look")
MOVING = ("walk", "run")
SHOT_TYPES = ("wide", "medium", "close-up")
CAMERAS = ("static", "pan left", "pan right", "zoom in", "zoom out", "follow")
# What can be told from a face and shoulders.
_CLOSE_ACTIONS = ("stand", "wave", "sleep", "read", "eat", "sing", "look")


@dataclass(frozen=True, slots=True)
class Actor:
    """A hero in a shot.

    Attributes:
        hero: the looks.
        name: what captions call the hero.
        action: one of `ACTIONS`.
        x: where the hero stands at the start, in picture heights from the middle, before the camera's zoom.
        facing: 1 to the right, -1 to the left.
        phase: shifts the movements in time, in seconds, so that two heroes do not move as one.
    """

    hero: Hero
    name: str
    action: str = "stand"
    x: float = 0.0
    facing: int = 1
    phase: float = 0.0

    def __post_init__(self) -> None:
        assert self.action in ACTIONS, self.action
        assert self.facing in (-1, 1), self.facing


@dataclass(frozen=True, slots=True)
class ShotSpec:
    """One shot.

    Attributes:
        actors: one or two, from left to right.
        place: where.
        time: one of `TIMES`.
        weather: one of `WEATHERS`; "clear" indoors.
        shot_type: one of `SHOT_TYPES`.
        camera: one of `CAMERAS`.
        start: seconds that have gone by when the first frame is drawn; a shot that continues another starts later.
        seed: of what nobody asks about: where clouds and drops are.
    """

    actors: tuple[Actor, ...]
    place: Place
    time: str = "noon"
    weather: str = "clear"
    shot_type: str = "wide"
    camera: str = "static"
    start: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        assert 1 <= len(self.actors) <= 2, len(self.actors)
        assert self.time in TIMES, self.time
        assert self.weather in PLACES[self.place.kind].weathers, (self.place.kind, self.weather)
        assert self.weather in WEATHERS, self.weather
        assert self.shot_type in SHOT_TYPES, self.shot_type
        assert self.camera in CAMERAS, self.camera

    def continued(self, seconds: float) -> ShotSpec:
        """The same shot, `seconds` later: what follows without a cut."""
        return replace(self, start=self.start + seconds)


def stage(
    rng: Random,
    heroes: tuple[Hero, ...],
    names: tuple[str, ...],
    place: Place,
    time: str,
    weather: str,
    *,
    shot_type: str | None = None,
    actions: Mapping[str, float] | None = None,
) -> ShotSpec:
    """Let these heroes do something in this place; everything else by lot.

    Args:
        rng: where lots come from.
        heroes: who, one or two.
        names: theirs.
        place: where.
        time: one of `TIMES`.
        weather: one of `WEATHERS`.
        shot_type: one of `SHOT_TYPES`; None: by lot.
        actions: how often each is drawn, beside those not named, which count 1; None: all alike.
    """
    assert len(heroes) == len(names)
    shot_type = shot_type or rng.choice(SHOT_TYPES)
    possible = _CLOSE_ACTIONS if shot_type == "close-up" else ACTIONS
    chosen = [_draw(rng, possible, actions) for _ in heroes]
    order = list(range(len(heroes)))
    rng.shuffle(order)
    actors = []
    for slot, index in enumerate(order):
        if len(order) == 1:
            x, facing = rng.uniform(-0.12, 0.12), rng.choice((-1, 1))
        else:
            side = -1 if slot == 0 else 1
            # Mostly they look at each other.
            x, facing = side * 0.36 + rng.uniform(-0.03, 0.03), -side if rng.random() < 0.75 else side
        if chosen[index] in MOVING and len(order) == 2:
            chosen[index] = _draw(rng, [a for a in possible if a not in MOVING], actions)
        actors.append(Actor(heroes[index], names[index], chosen[index], round(x, 3), facing, round(rng.random(), 3)))
    moving = len(actors) == 1 and actors[0].action in MOVING
    if moving:
        camera = rng.choice(("static", "follow", "follow"))
    else:
        camera = rng.choice(("static", "static", "pan left", "pan right", "zoom in", "zoom out"))
    if moving and camera == "static":
        actors = [replace(actors[0], x=-0.18 * actors[0].facing)]
    return ShotSpec(tuple(actors), place, time, weather, shot_type, camera, 0.0, rng.randrange(2**31))


def _draw(rng: Random, possible: Sequence[str], counts: Mapping[str, float] | None) -> str:
    if not counts:
        return rng.choice(possible)  # another lot than one of equal weights, and what it drew before it draws still
    return rng.choices(possible, [counts.get(action, 1.0) for action in possible])[0]


def sample_conditions(rng: Random, place: Place) -> tuple[str, str]:
    """Time of day and weather that go with a place."""
    kind = PLACES[place.kind]
    return ("noon" if kind.timeless else rng.choice(TIMES)), rng.choice(kind.weathers)


def sample_shot(seed: int, split: Split = "train", *, two_heroes: float = 0.3) -> ShotSpec:
    """One shot by lot.

    Args:
        seed: together with the split decides everything.
        split: which heroes and layouts to draw from.
        two_heroes: the chance of a second hero.
    """
    rng = Random(f"storyland/shot/{split}/{seed}")
    number = 2 if rng.random() < two_heroes else 1
    heroes, names = sample_heroes(rng, number, split), sample_names(rng, number)
    place = sample_place(rng, split)
    return stage(rng, heroes, names, place, *sample_conditions(rng, place))
