"""Places, times of day and weather: what there is, how it is lit, and what stands about."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from storymem.worlds.storyland.heroes import Split

__all__ = ["PLACES", "TIMES", "WEATHERS", "Light", "Place", "PlaceKind", "light_for", "sample_place"]

RGB = tuple[float, float, float]

TIMES = ("morning", "noon", "evening", "night")
WEATHERS = ("clear", "cloudy", "rainy", "snowy", "foggy", "windy")


@dataclass(frozen=True, slots=True)
class PlaceKind:
    """One kind of place.

    Attributes:
        layers: (strip, how far away): 0 stays with the sky, 1 moves with the heroes.
        weathers: that can be there; indoors only "clear", which is not told.
        things: props that may stand on the ground, with their height as a share of the drawn one.
        lamps: what shines at night or always: (x, y) on the middle strip in picture heights, radius, colour.
        indoors: there is a roof; the time of day shows in the windows.
        timeless: no time of day is to be seen.
    """

    layers: tuple[tuple[str, float], ...]
    weathers: tuple[str, ...] = ("clear",)
    things: tuple[tuple[str, float], ...] = ()
    lamps: tuple[tuple[float, float, float, RGB], ...] = ()
    indoors: bool = False
    timeless: bool = False


_OUT = (("far", 0.25), ("mid", 0.6), ("ground", 1.0))
_IN = (("mid", 0.8), ("ground", 1.0))
_WARM: RGB = (1.0, 0.78, 0.42)

PLACES: dict[str, PlaceKind] = {
    "forest": PlaceKind(_OUT, WEATHERS, (("stump", 1.0), ("rock", 1.0))),
    "beach": PlaceKind(_OUT, ("clear", "cloudy", "rainy", "foggy", "windy"), (("palm", 1.1), ("parasol", 1.0))),
    "city": PlaceKind(
        _OUT,
        WEATHERS,
        (("car", 1.0), ("bicycle", 0.9)),
        tuple((0.208 + i * 0.4167, 0.5, 0.26, _WARM) for i in range(6)),
    ),
    "village": PlaceKind(
        _OUT,
        WEATHERS,
        (("plant", 0.9), ("fountain", 1.0)),
        tuple((0.25 + i * 0.5, 0.58, 0.24, _WARM) for i in range(5)),
    ),
    "desert": PlaceKind(_OUT, ("clear", "cloudy", "windy"), (("cactus", 1.0), ("cactus", 0.7), ("rock", 1.0))),
    "mountain": PlaceKind(_OUT, ("clear", "cloudy", "snowy", "foggy", "windy"), (("snowman", 1.0), ("rock", 0.9))),
    "meadow": PlaceKind(_OUT, ("clear", "cloudy", "rainy", "foggy", "windy"), (("sunflower", 1.0), ("sunflower", 0.8))),
    "harbour": PlaceKind(_OUT, WEATHERS, (("anchor", 0.8), ("basket", 0.9)), ((2.09, 0.14, 0.3, (1.0, 0.9, 0.55)),)),
    "kitchen": PlaceKind(_IN, things=(("chair", 1.2), ("basket", 0.9)), indoors=True),
    "library": PlaceKind(_IN, things=(("globe", 1.1), ("chair", 1.2)), indoors=True),
    "bedroom": PlaceKind(_IN, things=(("teddy", 1.0), ("plant", 1.0)), indoors=True),
    "market": PlaceKind(
        _OUT,
        ("clear", "cloudy", "rainy", "foggy", "windy"),
        (("basket", 1.0), ("amphora", 1.0)),
        tuple((0.32 + i * 0.625, 0.48, 0.26, _WARM) for i in range(4)),
    ),
    "castle": PlaceKind(
        _IN,
        things=(("amphora", 1.1), ("shield", 1.0)),
        lamps=tuple((x / 256, 76 / 256, 0.3, (1.0, 0.66, 0.3)) for x in (160, 320, 490)),
        indoors=True,
    ),
    "cave": PlaceKind(_OUT, things=(("gem", 1.0), ("rock", 1.0)), indoors=True, timeless=True),
}


@dataclass(frozen=True, slots=True)
class Place:
    """One certain place: a kind and the seed of its layout, so that the same forest can be come back to."""

    kind: str
    layout: int = 0

    def __post_init__(self) -> None:
        assert self.kind in PLACES, self.kind


_LAYOUTS = {"train": 0, "test": 1, "validation": 2}


def sample_place(rng: Random, split: Split = "train", kind: str | None = None) -> Place:
    """A place by lot; the seed of its layout, modulo 4, says the split: 0 training, 1 test, 2 validation."""
    return Place(kind or rng.choice(tuple(PLACES)), 4 * rng.randrange(2**29) + _LAYOUTS[split])


@dataclass(frozen=True, slots=True)
class Light:
    """How a time of day and the weather look.

    Attributes:
        top, bottom: the sky's colours, 0 to 1.
        scene, hero: factors on the colours of places and of heroes (who stay readable at night).
        haze: colour that distance and fog mix in.
        far, near: how much of it, for the farthest layer and for the ground.
    """

    top: RGB
    bottom: RGB
    scene: RGB
    hero: RGB
    haze: RGB
    far: float
    near: float


_SKY: dict[str, tuple[RGB, RGB, RGB, RGB]] = {
    "morning": ((0.62, 0.80, 0.95), (1.0, 0.89, 0.80), (1.0, 0.955, 0.90), (1.0, 0.975, 0.94)),
    "noon": ((0.40, 0.71, 0.94), (0.83, 0.94, 0.98), (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "evening": ((0.52, 0.44, 0.70), (1.0, 0.64, 0.42), (1.0, 0.80, 0.69), (1.0, 0.90, 0.82)),
    "night": ((0.07, 0.09, 0.25), (0.21, 0.25, 0.47), (0.42, 0.47, 0.70), (0.77, 0.80, 0.95)),
}
_ROOM: dict[str, tuple[RGB, RGB]] = {
    "morning": ((1.0, 0.965, 0.92), (1.0, 0.985, 0.96)),
    "noon": ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    "evening": ((1.0, 0.87, 0.77), (1.0, 0.94, 0.88)),
    "night": ((0.66, 0.60, 0.68), (0.86, 0.82, 0.88)),
}
_GREY: dict[str, tuple[float, float, float, float]] = {  # how grey, how much darker, haze far, haze near
    "clear": (0.0, 1.0, 0.10, 0.0),
    "windy": (0.15, 0.99, 0.10, 0.0),
    "cloudy": (0.65, 0.93, 0.18, 0.0),
    "rainy": (0.85, 0.80, 0.32, 0.06),
    "snowy": (0.60, 0.96, 0.32, 0.06),
    "foggy": (0.80, 0.95, 0.72, 0.24),
}


def _mix(a: RGB, b: RGB, t: float) -> RGB:
    return (a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t)


def _times(a: RGB, k: float) -> RGB:
    return (a[0] * k, a[1] * k, a[2] * k)


def light_for(kind: str, time: str, weather: str) -> Light:
    """The light in a place of this `kind`."""
    place = PLACES[kind]
    top, bottom, scene, hero = _SKY[time]
    if place.indoors:
        scene, hero = _ROOM["noon" if place.timeless else time]
        return Light(top, bottom, scene, hero, bottom, 0.0, 0.0)
    grey, dark, far, near = _GREY[weather]
    if time == "night":  # it is dark enough
        dark = (1 + dark) / 2
    tone = {"night": 0.20, "evening": 0.66}.get(time, 0.80)
    overcast: RGB = (tone * 0.95, tone * 0.99, tone * 1.06)
    top, bottom = _mix(top, overcast, grey), _mix(bottom, _times(overcast, 1.08), grey)
    return Light(top, bottom, _times(scene, dark), _times(hero, (3 + dark) / 4), bottom, far, near)
