"""Heroes: what can be told about their looks, how they are drawn by lot, and which of them training never sees."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from random import Random
from typing import Literal

from storymem.worlds.storyland.palette import COLOURS

__all__ = [
    "ACCESSORIES",
    "ATTRIBUTES",
    "BUILDS",
    "HATS",
    "HELD",
    "HERO_CLASSES",
    "NAMES",
    "NECKWEAR",
    "NOT_WORN",
    "PATTERNS",
    "SPECIES",
    "TEST_SHARE",
    "VALIDATION_SHARE",
    "Hero",
    "Split",
    "class_of",
    "count_heroes",
    "sample_hero",
    "sample_heroes",
    "sample_names",
    "split_of",
]

Split = Literal["train", "validation", "test"]

SPECIES = ("fox", "bear", "cat", "rabbit", "frog", "owl", "mouse", "dog", "pig", "penguin")
BUILDS = ("little", "tall", "round")
PATTERNS = ("plain", "striped", "spotted", "patched")
HATS = ("cap", "top hat", "woolly hat", "sun hat", "crown", "wizard hat", "bow")
NECKWEAR = ("scarf", "bow tie", "cape")
ACCESSORIES = ("glasses", "bag", "umbrella", "lantern", "balloon")
HELD = ("umbrella", "lantern", "balloon")

ATTRIBUTES = (
    "species",
    "build",
    "colour",
    "pattern",
    "hat",
    "hat_colour",
    "neckwear",
    "neckwear_colour",
    "accessory",
    "accessory_colour",
)
"""The names of everything that makes a hero's looks, in the order of `Hero`'s fields."""

NOT_WORN = "none"
HERO_CLASSES: dict[str, tuple[str, ...]] = {
    "species": SPECIES,
    "build": BUILDS,
    "colour": COLOURS,
    "pattern": PATTERNS,
    "hat": (NOT_WORN, *HATS),
    "hat_colour": COLOURS,
    "neckwear": (NOT_WORN, *NECKWEAR),
    "neckwear_colour": COLOURS,
    "accessory": (NOT_WORN, *ACCESSORIES),
    "accessory_colour": COLOURS,
}
"""What each attribute can be, for those who read it: `NOT_WORN` stands for None, and then there is no colour."""


def class_of(name: str, value: str | None) -> int:
    """The number of an attribute's value in `HERO_CLASSES`; -1 for the colour of what is not worn."""
    if value is None and name.endswith("_colour"):
        return -1
    return HERO_CLASSES[name].index(NOT_WORN if value is None else value)


TEST_SHARE, VALIDATION_SHARE = 0.10, 0.03
"""The shares of looks that training never sees: for benchmarks, and to watch training by."""

# Names say nothing about looks: any hero may have any of them.
NAMES = (
    "Pip", "Momo", "Juno", "Otto", "Lila", "Bruno", "Nell", "Tobi", "Mina", "Hugo", "Ada", "Finn",
    "Zora", "Emil", "Kiki", "Rolf", "Suri", "Nico", "Wanda", "Bo", "Tess", "Milo", "Yara", "Gus",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hero:
    """One hero's looks. `hat`, `neckwear` and `accessory` may be None; each has a colour exactly if it is there."""

    species: str
    build: str
    colour: str
    pattern: str
    hat: str | None = None
    hat_colour: str | None = None
    neckwear: str | None = None
    neckwear_colour: str | None = None
    accessory: str | None = None
    accessory_colour: str | None = None

    def __post_init__(self) -> None:
        assert self.species in SPECIES, self.species
        assert self.build in BUILDS, self.build
        assert self.colour in COLOURS, self.colour
        assert self.pattern in PATTERNS, self.pattern
        for thing, colour, things in (
            (self.hat, self.hat_colour, HATS),
            (self.neckwear, self.neckwear_colour, NECKWEAR),
            (self.accessory, self.accessory_colour, ACCESSORIES),
        ):
            assert (thing is None) == (colour is None), (thing, colour)
            assert thing is None or (thing in things and colour in COLOURS), (thing, colour)

    def attributes(self) -> dict[str, str | None]:
        """Everything that makes the looks, by the names of `ATTRIBUTES`."""
        return {name: getattr(self, name) for name in ATTRIBUTES}


def count_heroes() -> int:
    """How many different heroes `sample_hero` can draw.

    At least two of hat, neckwear and accessory are there, and none has the wearer's own colour.
    """
    choices = [len(things) * (len(COLOURS) - 1) for things in (HATS, NECKWEAR, ACCESSORIES)]
    worn = math.prod(1 + n for n in choices) - 1 - sum(choices)
    return len(SPECIES) * len(BUILDS) * len(COLOURS) * len(PATTERNS) * worn


def split_of(hero: Hero) -> Split:
    """The split that a hero belongs to.

    SHA-256 of species, colour, pattern, hat and its colour, neckwear and its colour decides; a tenth of these
    combinations is "test", three in a hundred are "validation". So a hero of a test story differs from every hero of
    training in more than an accessory.
    """
    key = (hero.species, hero.colour, hero.pattern, hero.hat, hero.hat_colour, hero.neckwear, hero.neckwear_colour)
    digest = hashlib.sha256("|".join(map(str, key)).encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    if share < TEST_SHARE:
        return "test"
    return "validation" if share < TEST_SHARE + VALIDATION_SHARE else "train"


def sample_hero(rng: Random, split: Split = "train") -> Hero:
    """A hero drawn by lot from one split; at least two of hat, neckwear and accessory are there."""
    while True:
        colour = rng.choice(COLOURS)
        others = [other for other in COLOURS if other != colour]
        hat = rng.choice(HATS) if rng.random() < 0.8 else None
        neckwear = rng.choice(NECKWEAR) if rng.random() < 0.7 else None
        accessory = rng.choice(ACCESSORIES) if rng.random() < 0.5 else None
        if (hat, neckwear, accessory).count(None) > 1:
            continue
        hero = Hero(
            species=rng.choice(SPECIES),
            build=rng.choice(BUILDS),
            colour=colour,
            pattern=rng.choice(PATTERNS),
            hat=hat,
            hat_colour=rng.choice(others) if hat else None,
            neckwear=neckwear,
            neckwear_colour=rng.choice(others) if neckwear else None,
            accessory=accessory,
            accessory_colour=rng.choice(others) if accessory else None,
        )
        if split_of(hero) == split:
            return hero


def sample_heroes(rng: Random, number: int, split: Split = "train") -> tuple[Hero, ...]:
    """Heroes that nobody mixes up: no two of one species or of one colour."""
    heroes: list[Hero] = []
    while len(heroes) < number:
        hero = sample_hero(rng, split)
        if all(hero.species != other.species and hero.colour != other.colour for other in heroes):
            heroes.append(hero)
    return tuple(heroes)


def sample_names(rng: Random, number: int) -> tuple[str, ...]:
    """Different names."""
    return tuple(rng.sample(NAMES, number))
