"""What prompts tell of heroes: captions, read back, and what people write."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from storymem.story.cast import weave
from storymem.story.model import Character
from storymem.worlds.storyland.captions import STYLES, VERBS, CaptionStyle, caption, told_attributes, vocabulary
from storymem.worlds.storyland.heroes import ATTRIBUTES, NAMES, Split
from storymem.worlds.storyland.shots import ACTIONS, Actor, ShotSpec, sample_shot
from storymem.worlds.storyland.telling import heroes_told

FOX = {"species": "fox", "build": "little", "colour": "orange", "pattern": "plain"}
FOX |= {"hat": "cap", "hat_colour": "blue", "neckwear": "scarf", "neckwear_colour": "red"}
MILO: dict[str, str | None] = {**FOX, "accessory": None}
ZORA: dict[str, str | None] = {
    **{"species": "owl", "build": "tall", "colour": "white", "pattern": "spotted", "hat": "top hat"},
    **{"hat_colour": "green", "neckwear": "bow tie", "neckwear_colour": "yellow", "accessory": None},
}
CAST = (
    Character(name="Milo", description="a little orange fox with a blue cap and a red scarf"),
    Character(name="Zora", description="A tall spotted white owl with a green top hat and a yellow bow tie."),
)


def told(prompt: str) -> list[tuple[Mapping[str, str | None], str | None]]:
    return [(hero.attributes, hero.action) for hero in heroes_told(prompt)]


def told_of(actor: Actor, style: CaptionStyle) -> tuple[dict[str, str | None], str]:
    looks = {name: value for name, value in actor.hero.attributes().items() if name in told_attributes(style)}
    return {name: value for name, value in looks.items() if value or not name.endswith("_colour")}, actor.action


def styles_of(spec: ShotSpec) -> list[tuple[CaptionStyle, ...]]:
    """The same for all heroes, and a different one for each."""
    alike: list[tuple[CaptionStyle, ...]] = [(style,) * len(spec.actors) for style in STYLES]
    if len(spec.actors) == 1:
        return alike
    return [*alike, *((a, b) for a in STYLES for b in STYLES if a != b and "hero" not in (a, b))]


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_captions_are_read_back(split: Split) -> None:
    for seed in range(300):
        spec = sample_shot(seed, split, two_heroes=0.5)
        for styles in styles_of(spec):
            text = caption(spec, styles[0] if len(set(styles)) == 1 else styles)
            wanted = [told_of(actor, style) for actor, style in zip(spec.actors, styles, strict=True)]
            assert told(text) == wanted, text


def test_attributes_come_in_their_usual_order() -> None:
    (hero,) = heroes_told("With a red scarf and a blue cap, the orange little fox waves.")
    assert list(hero.attributes) == [name for name in ATTRIBUTES if name in hero.attributes]
    assert dict(hero.attributes) == MILO


@pytest.mark.parametrize("action", ACTIONS)
def test_every_phrase_is_known_in_every_case(action: str) -> None:
    for phrase in VERBS[action]:
        for text in (f"Milo {phrase}.", f"MILO {phrase.upper()}", f"the hero {phrase} in the forest. Waves roll."):
            assert told(text) == [({}, action)]


def test_the_cast_is_read_where_it_is_woven_in() -> None:
    for prompt, wanted in {
        "Milo waves in the forest.": [(MILO, "wave")],
        "Milo waves in the forest and Zora sleeps.": [(MILO, "wave"), (ZORA, "sleep")],
        "Zora's hat falls while Milo is asleep.": [(ZORA, None), (MILO, "sleep")],
        "Milo the fox takes a walk. Zora the owl reads.": [(MILO, "walk"), (ZORA, "read")],
        "Milo and Zora are on the beach. Milo waves hello and Zora sings a song.": [(MILO, "wave"), (ZORA, "sing")],
        "Milo waves at Zora on the beach. Wide shot.": [(MILO, "wave"), (ZORA, None)],
        "Zora opens the door.": [(ZORA, None)],
    }.items():
        assert told(weave(prompt, CAST)[0]) == wanted, weave(prompt, CAST)[0]


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        # Only what is said, where there is no description.
        ("Pip the fox", [({"species": "fox"}, None)]),
        ("A fox in a red cap eats.", [({"species": "fox", "hat": "cap", "hat_colour": "red"}, "eat")]),
        ("A fox in a cap eats.", [({"species": "fox", "hat": "cap"}, "eat")]),
        ("A little fox eats.", [({"species": "fox", "build": "little"}, "eat")]),
        ("A girl with a red scarf eats.", [({"neckwear": "scarf", "neckwear_colour": "red"}, "eat")]),
        # A hat that is not one of those known is a hat all the same.
        (
            "A grey cat with a big hat waves.",
            [({"species": "cat", "colour": "grey", "pattern": "plain", "neckwear": None, "accessory": None}, "wave")],
        ),
        # Words that are others.
        ("Bo waves.", [({}, "wave")]),
        ("Bo the bear in a pink bow tie waves.",
         [({"species": "bear", "neckwear": "bow tie", "neckwear_colour": "pink"}, "wave")]),
        ("Milo walks by the waves in the mountains.", [({}, "walk")]),
        ("Waves roll in. Milo runs.", [({}, "run")]),
        ("Grey clouds. The cat sleeps. A red bow tie lies on the ground. A bag too.", [({"species": "cat"}, "sleep")]),
        # Whoever is spoken of again is nobody new.
        ("Milo sits. Milo sits down on the ground.", [({}, "sit")]),
        ("Pip the fox waves. The fox waves hello.", [({"species": "fox"}, "wave")]),
        ("Milo waves. Then he jumps.", [({}, None)]),  # either can be what is seen
        ("Milo waves and Juno sleeps. Milo waves.", [({}, "wave"), ({}, "sleep")]),
        ("The one on the left, a fox, waves and the other sleeps.", [({"species": "fox"}, "wave"), ({}, "sleep")]),
        ("the fox and the owl dance", [({"species": "fox"}, None), ({"species": "owl"}, None)]),
        # No more than two.
        ("The fox waves, the owl sleeps and the bear sings.",
         [({"species": "fox"}, "wave"), ({"species": "owl"}, "sleep")]),
        # Nobody.
        ("", []),
        ("The beach at night. A lantern and a red cap lie there.", []),
        ("Mara opens the door.", []),
        ("waves", []),
    ],
)  # fmt: skip
def test_what_people_write(prompt: str, wanted: list[tuple[dict[str, str | None], str | None]]) -> None:
    assert told(prompt) == wanted


def test_what_lies_about_or_may_be_held_is_not_told_to_be_missing() -> None:
    (hero,) = heroes_told("A little orange fox with a blue cap and a red scarf waves under a red umbrella.")
    assert dict(hero.attributes) == {name: value for name, value in MILO.items() if name != "accessory"}


def test_two_of_one_species_differ_in_their_fur_or_their_names() -> None:
    for prompt in (
        "A red fox waves and a white fox sleeps.",
        "Ember, a red fox, waves and Frost, a white fox, sleeps.",
        "Ember the fox waves while Frost the fox sleeps.",
    ):
        assert [action for _, action in told(prompt)] == ["wave", "sleep"]


def test_no_words_are_too_odd() -> None:
    words = [*vocabulary(), *NAMES, ".", ",", ";", "the one", "the other", "\n", "狐", "Éloïse", "(", "'s", "-", "HAT"]
    words += [phrase for phrases in VERBS.values() for phrase in phrases]
    rng = random.Random(0)
    for _ in range(500):
        heroes = heroes_told(" ".join(rng.choices(words, k=rng.randrange(30))))
        assert len(heroes) <= 2
        for hero in heroes:
            assert {*hero.attributes} <= {*ATTRIBUTES}
            assert hero.action in (None, *ACTIONS)
