from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from storymem.story import load_story, parse_story
from storymem.story.template import new_script
from storymem.worlds.storyland.captions import (
    STYLES,
    caption,
    caption_clauses,
    describe,
    strange_words,
    told_attributes,
    vocabulary,
)
from storymem.worlds.storyland.heroes import (
    ACCESSORIES,
    ATTRIBUTES,
    BUILDS,
    HATS,
    NAMES,
    NECKWEAR,
    PATTERNS,
    SPECIES,
    Hero,
    sample_hero,
)
from storymem.worlds.storyland.palette import COLOURS
from storymem.worlds.storyland.shots import ShotSpec, sample_shot

THINGS = {"hat": HATS, "neckwear": NECKWEAR, "accessory": ACCESSORIES}


def phrase_of(hero: Hero, thing: str) -> str | None:
    value, colour = getattr(hero, thing), getattr(hero, f"{thing}_colour")
    return None if value is None else f"{colour} {value}"


def told_things(text: str) -> set[str]:
    """Every "colour thing" that a text has; "bow tie" is not a "bow"."""
    things = sorted((t for group in THINGS.values() for t in group), key=len, reverse=True)
    return set(re.findall(rf"\b((?:{'|'.join(COLOURS)}) (?:{'|'.join(things)}))\b", text))


@pytest.mark.parametrize("seed", range(60))
def test_a_description_tells_exactly_what_is_there(seed: int) -> None:
    hero = sample_hero(Random(seed))
    text = describe(hero, Random(seed))
    assert told_things(text) == {p for thing in THINGS if (p := phrase_of(hero, thing))}
    words = text.split()
    assert [w for w in words if w in BUILDS] == [hero.build]
    assert [w for w in words if w in SPECIES] == [hero.species]
    assert [w for w in words if w in PATTERNS] == ([] if hero.pattern == "plain" else [hero.pattern])
    assert f"{hero.colour} {hero.species}" in text
    assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text)


@pytest.mark.parametrize("seed", range(40))
def test_full_captions_tell_the_looks_and_the_names(seed: int) -> None:
    spec = sample_shot(seed)
    text = caption(spec, "full")
    for actor in spec.actors:
        assert actor.name in text
        assert f"{actor.hero.colour} {actor.hero.species}" in text
    assert told_things(text) == {p for a in spec.actors for t in THINGS if (p := phrase_of(a.hero, t))}
    assert not any(name in caption(spec, "look") for name in NAMES)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("style", ["brief", "name", "hero"])
def test_short_captions_keep_the_looks_back(style: str, seed: int) -> None:
    spec = sample_shot(seed)
    text = caption(spec, style)  # type: ignore[arg-type]
    words = set(re.findall(r"[a-z-]+", text.lower()))
    words -= {"crystal"}
    grey_clouds = "grey clouds" in text
    assert not words & ({*COLOURS, *BUILDS, *PATTERNS} - ({"grey"} if grey_clouds else set()))
    assert not told_things(text)
    species = {actor.hero.species for actor in spec.actors}
    assert words & {*SPECIES} == (species if style == "brief" else set())
    assert {n for n in NAMES if n in text.split() or f"{n}," in text} == (
        set() if style == "hero" else {actor.name for actor in spec.actors}
    )


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("seed", range(30))
def test_a_caption_knows_which_words_speak_of_whom(style: str, seed: int) -> None:
    spec = sample_shot(seed)
    text, clauses = caption_clauses(spec, style, seed=seed)
    assert text == caption(spec, style, seed=seed)
    parts = [text[start:stop] for start, stop in clauses]
    assert len(parts) == len(spec.actors)
    assert [part for part in parts if part.strip() != part or part.endswith((",", "."))] == []
    for part, other, actor, side in zip(parts, parts[::-1], spec.actors, ("left", "right"), strict=False):
        if style in ("full", "brief", "name"):
            assert actor.name in part
        if style in ("full", "look", "brief"):
            assert actor.hero.species in part
        if style == "hero" and len(parts) == 2:
            assert part.startswith(f"the one on the {side} ")
        other_side = {"left": "right", "right": "left"}[side]
        assert len(parts) == 1 or f"on the {other_side}" not in part
        assert part is other or part not in other
    rest = text
    for start, stop in reversed(clauses):
        rest = rest[:start] + rest[stop:]
    assert not any(actor.name in rest or actor.hero.species in rest.split() for actor in spec.actors)


def test_told_attributes_agree_with_the_captions() -> None:
    assert told_attributes("full") == told_attributes("look") == ATTRIBUTES
    assert told_attributes("brief") == ("species",)
    assert told_attributes("name") == told_attributes("hero") == ()


def all_captions() -> list[str]:
    return [caption(sample_shot(seed), style, seed=seed) for seed in range(500) for style in STYLES]


def test_captions_are_clean_sentences() -> None:
    for text in all_captions():
        assert text[0].isupper(), text
        assert text.endswith("."), text
        assert "  " not in text, text
        assert ".." not in text, text
        assert not re.search(r"\s[.,;:]", text), text


def test_the_vocabulary_is_modest_and_complete() -> None:
    words = set(vocabulary())
    assert len(words) < 220
    used = {word for text in all_captions() for word in re.findall(r"[a-z-]+", text.lower())}
    assert used <= words


def test_the_same_shot_can_be_told_in_many_ways() -> None:
    spec = sample_shot(2)
    assert len({caption(spec, "full", seed=seed) for seed in range(100)}) > 20
    assert caption(spec, "full", seed=5) == caption(spec, "full", seed=5)


WORDS = {
    "shot_type": {"wide": "wide shot", "medium": "medium shot", "close-up": "close-up"},
    "time": {"morning": "morning", "noon": "noon|day", "evening": "evening|sunset", "night": "night"},
    "weather": {
        "clear": "sunny|clear", "cloudy": "cloud", "rainy": "rain", "snowy": "snow", "foggy": "fog", "windy": "wind",
    },
}  # fmt: skip


def told(text: str, spec: ShotSpec, field: str) -> bool:
    return re.search(WORDS[field][getattr(spec, field)], text.lower()) is not None


@pytest.mark.parametrize("style", STYLES)
def test_every_caption_tells_shot_type_time_and_weather(style: str) -> None:
    for seed in range(150):
        spec = sample_shot(seed)
        text = caption(spec, style)  # type: ignore[arg-type]
        assert told(text, spec, "shot_type"), text
        if spec.place.kind != "cave":
            assert told(text, spec, "time"), text
        if spec.place.kind not in ("kitchen", "library", "bedroom", "castle", "cave"):
            assert told(text, spec, "weather"), text


def test_words_that_no_caption_has_are_found() -> None:
    assert strange_words(caption(sample_shot(seed), "full") for seed in range(50)) == []
    assert strange_words(["The Quokka waves.", "A fox-trot! The quokka sits, naively."]) == [
        "quokka",
        "fox-trot",
        "naively",
    ]
    many = strange_words([" ".join(f"{a}{a}x{b}" for a in "bcd" for b in "fghjk")], most=4)
    assert (len(many), many[-1]) == (5, "and 11 more")


def test_what_we_write_for_the_small_model_is_in_its_words() -> None:
    film = load_story(Path(__file__).parents[2] / "examples" / "storyland_film.yaml")
    template = parse_story(new_script("A film"), "film.yaml", None)
    for story in (film, template):
        assert strange_words(shot.prompt for shot in story.shots) == []
