from __future__ import annotations

from random import Random

import pytest

from storymem.worlds.storyland.heroes import (
    ATTRIBUTES,
    HATS,
    NAMES,
    SPECIES,
    Hero,
    count_heroes,
    sample_hero,
    sample_heroes,
    sample_names,
    split_of,
)
from storymem.worlds.storyland.palette import COLOURS


def test_there_are_hundreds_of_millions_of_heroes() -> None:
    # 10 species x 3 builds x 12 colours x 4 patterns; two or three of hat, neckwear, accessory in one of 11 colours.
    hat, neckwear, accessory = 7 * 11, 3 * 11, 5 * 11
    two = hat * neckwear + hat * accessory + neckwear * accessory
    assert count_heroes() == 10 * 3 * 12 * 4 * (two + hat * neckwear * accessory)
    assert count_heroes() > 200_000_000


def test_heroes_of_different_seeds_do_not_meet() -> None:
    heroes = [sample_hero(Random(seed)) for seed in range(2000)]
    assert len(heroes) - len(set(heroes)) <= 1


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_sampled_hero_belongs_to_its_split_and_follows_from_the_seed(split: str) -> None:
    for seed in range(200):
        hero = sample_hero(Random(seed), split)  # type: ignore[arg-type]
        assert split_of(hero) == split
        assert hero == sample_hero(Random(seed), split)  # type: ignore[arg-type]


def test_about_a_tenth_of_all_heroes_is_held_out() -> None:
    rng = Random(7)
    looks = {
        (species, colour, pattern, hat, hat_colour)
        for species in SPECIES
        for colour in COLOURS
        for pattern in ("plain", "striped")
        for hat, hat_colour in [(rng.choice(HATS), rng.choice(COLOURS)) for _ in range(6)]
    }
    held_out = [split_of(Hero(s, "round", c, p, h, k)) == "test" for s, c, p, h, k in looks]
    assert len(held_out) > 1200
    assert 0.07 < sum(held_out) / len(held_out) < 0.13


def test_build_and_accessory_do_not_take_a_hero_out_of_its_split() -> None:
    for seed in range(50):
        hero = sample_hero(Random(seed), "test")
        others = [
            Hero(
                hero.species, build, hero.colour, hero.pattern, hero.hat, hero.hat_colour,
                hero.neckwear, hero.neckwear_colour, "bag", "teal",
            )
            for build in ("little", "tall", "round")
        ]  # fmt: skip
        assert {split_of(other) for other in others} == {"test"}


def test_what_is_worn_has_never_the_colour_of_the_wearer() -> None:
    for seed in range(300):
        hero = sample_hero(Random(seed))
        assert hero.colour not in (hero.hat_colour, hero.neckwear_colour, hero.accessory_colour)


def test_every_value_of_every_attribute_comes_up() -> None:
    heroes = [sample_hero(Random(seed)) for seed in range(3000)]
    seen = {name: {hero.attributes()[name] for hero in heroes} for name in ATTRIBUTES}
    sizes = {name: len(values) for name, values in seen.items()}
    assert sizes == {
        "species": 10, "build": 3, "colour": 12, "pattern": 4, "hat": 8, "hat_colour": 13,
        "neckwear": 4, "neckwear_colour": 13, "accessory": 6, "accessory_colour": 13,
    }  # fmt: skip


def test_heroes_of_one_story_share_neither_species_nor_colour() -> None:
    for seed in range(200):
        one, two = sample_heroes(Random(seed), 2)
        assert one.species != two.species
        assert one.colour != two.colour


def test_names_differ_and_are_no_attribute_words() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert not {name.lower() for name in NAMES} & {*SPECIES, *COLOURS, *HATS}
    one, two = sample_names(Random(1), 2)
    assert one != two


def test_a_hat_without_a_colour_is_refused() -> None:
    with pytest.raises(AssertionError):
        Hero("fox", "tall", "red", "plain", hat="cap")
