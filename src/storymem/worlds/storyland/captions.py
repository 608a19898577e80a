"""Captions: a small grammar of plain English with several ways to say the same thing.

A caption tells everything of a shot but, in some styles, the heroes' looks:

=========  ====================================================================
``full``   the looks in full, with the name: "Pip, a little orange fox in a blue cap, ..."
``look``   the looks in full, without a name: "A little orange fox in a blue cap ..."
``brief``  the name and the species: "Pip the fox ..."
``name``   the name alone: "Pip ..."
``hero``   "the hero", or "the two heroes": not even the name
=========  ====================================================================

In the last three only memory can know the rest. Memory holds pictures and no names, so where a story has two heroes,
`brief` is the least that says which of them is meant: two heroes of a story are never of one species.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from random import Random
from typing import Literal

from storymem.worlds.storyland.heroes import ATTRIBUTES, Hero
from storymem.worlds.storyland.places import PLACES
from storymem.worlds.storyland.shots import Actor, ShotSpec

__all__ = ["STYLES", "CaptionStyle", "caption", "describe", "strange_words", "told_attributes", "vocabulary"]

CaptionStyle = Literal["full", "look", "brief", "name", "hero"]
STYLES: tuple[CaptionStyle, ...] = ("full", "look", "brief", "name", "hero")

_PATTERN = {"plain": "", "striped": "striped ", "spotted": "spotted ", "patched": "patched "}
VERBS: Mapping[str, tuple[str, ...]] = {  # third person
    "stand": ("stands", "stands still", "waits"),
    "walk": ("walks", "takes a walk"),
    "run": ("runs", "runs fast"),
    "jump": ("jumps", "jumps up and down"),
    "wave": ("waves", "waves hello"),
    "dance": ("dances", "dances happily"),
    "sit": ("sits", "sits down on the ground"),
    "sleep": ("sleeps", "is asleep"),
    "read": ("reads a book", "reads"),
    "eat": ("eats an apple", "eats"),
    "sing": ("sings", "sings a song"),
    "look": ("looks around", "looks left and right"),
}
_PLACES: Mapping[str, tuple[str, ...]] = {
    "forest": ("in the forest",),
    "beach": ("on the beach", "at the beach"),
    "city": ("in the city", "in a city street"),
    "village": ("in the village",),
    "desert": ("in the desert",),
    "mountain": ("on the snowy mountain", "in the mountains"),
    "meadow": ("in the meadow", "in a meadow of flowers"),
    "harbour": ("at the harbour", "in the harbour"),
    "kitchen": ("in the kitchen",),
    "library": ("in the library",),
    "bedroom": ("in the bedroom",),
    "market": ("at the market", "in the market"),
    "castle": ("in the castle", "in the castle hall"),
    "cave": ("in the cave", "in the crystal cave"),
}
_TIMES: Mapping[str, tuple[str, ...]] = {
    "morning": ("in the morning",),
    "noon": ("at noon", "in the middle of the day"),
    "evening": ("in the evening", "at sunset"),
    "night": ("at night",),
}
_DAYS = {"morning": "morning", "noon": "day", "evening": "evening", "night": "night"}
_WEATHERS: Mapping[str, tuple[str, ...]] = {
    "clear": ("The sky is clear.",),
    "cloudy": ("The sky is cloudy.", "There are grey clouds."),
    "rainy": ("It is raining.", "Rain falls."),
    "snowy": ("It is snowing.", "Snow falls."),
    "foggy": ("There is fog.", "It is foggy."),
    "windy": ("It is windy.", "The wind blows."),
}
_SHOTS: Mapping[str, tuple[str, ...]] = {
    "wide": ("Wide shot", "A wide shot"),
    "medium": ("Medium shot", "A medium shot"),
    "close-up": ("Close-up", "A close-up"),
}
_CAMERAS: Mapping[str, tuple[str, ...]] = {
    "static": ("", "", "The camera is still."),
    "pan left": ("The camera pans left.", "Pan to the left."),
    "pan right": ("The camera pans right.", "Pan to the right."),
    "zoom in": ("The camera zooms in.", "Slow zoom in."),
    "zoom out": ("The camera zooms out.", "Slow zoom out."),
    "follow": ("The camera follows.", "The camera follows along."),
}


def describe(hero: Hero, rng: Random | None = None) -> str:
    """The looks of a hero in words: everything there is to tell, and nothing that is not there."""
    rng = rng or Random(0)
    text = f"a {hero.build} {_PATTERN[hero.pattern]}{hero.colour} {hero.species}"
    text = re.sub(r"^a (?=[aeiou])", "an ", text)
    items = []
    for thing, colour in ((hero.hat, hero.hat_colour), (hero.neckwear, hero.neckwear_colour)):
        if thing:
            items.append(f"a {colour} {thing}")
    if hero.accessory:
        items.append(
            f"{hero.accessory_colour} glasses"
            if hero.accessory == "glasses"
            else f"a {hero.accessory_colour} {hero.accessory}"
        )
    if items:
        # Nobody wears a lantern.
        link = "with" if hero.accessory not in (None, "glasses") else rng.choice(("with", "in", "wearing"))
        text += f" {link} " + _joined([re.sub(r"^a (?=[aeiou])", "an ", item) for item in items])
    return text


def _joined(items: list[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def _subject(actor: Actor, style: CaptionStyle, rng: Random, side: str) -> str:
    if style == "look":
        return describe(actor.hero, rng) + (f" {side}" if side else "")
    if style == "full":
        return f"{actor.name}, {describe(actor.hero, rng)}{f', {side}' if side else ''},"
    name = f"{actor.name} the {actor.hero.species}" if style == "brief" else actor.name
    return name + (f", {side}," if side else "")


def caption(spec: ShotSpec, style: CaptionStyle | tuple[CaptionStyle, ...] = "full", *, seed: int | None = None) -> str:
    """A caption of the shot; arguments as of `caption_clauses`."""
    return caption_clauses(spec, style, seed=seed)[0]


def caption_clauses(
    spec: ShotSpec, style: CaptionStyle | tuple[CaptionStyle, ...] = "full", *, seed: int | None = None
) -> tuple[str, tuple[tuple[int, int], ...]]:
    """A caption of the shot, and for each actor the first character that speaks of it, and the one after the last.

    Args:
        spec: the shot.
        style: for all heroes, or one for each actor, of which none may be "hero" then.
        seed: which of the phrasings; by default the shot's own seed decides.
    """
    rng = Random(f"storyland/caption/{spec.seed if seed is None else seed}")
    styles = (style,) * len(spec.actors) if isinstance(style, str) else style
    assert len(styles) == len(spec.actors), styles
    assert len(set(styles)) == 1 or "hero" not in styles, styles
    people = _people(spec, styles, rng)
    where = rng.choice(_PLACES[spec.place.kind])
    when, extra = _when(spec, rng)
    shot, camera = rng.choice(_SHOTS[spec.shot_type]), rng.choice(_CAMERAS[spec.camera])
    form = rng.randrange(3)
    if form == 0:
        text = f"{shot}: {people} {where} {when}. {extra} {camera}"
    elif form == 1 and when:
        text = f"{_upper(when)}, {people} {where}. {extra} {shot}. {camera}"
    else:
        text = f"{people} {where} {when}. {extra} {shot}. {camera}"
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r" ([.,])", r"\1", text)
    text = re.sub(rf"(^|[.:] )({_OPEN}?[a-z])", lambda m: m.group(1) + m.group(2).upper(), text)
    clauses = []
    while _OPEN in text:
        start = text.index(_OPEN)
        stop = text.index(_CLOSE) - 1
        text = text.replace(_OPEN, "", 1).replace(_CLOSE, "", 1)
        clauses.append((start, stop))
    return text, tuple(clauses)


_OPEN, _CLOSE = "\ue000", "\ue001"
"""Around what speaks of one actor, while a caption is put together."""


def _clause(text: str) -> str:
    return f"{_OPEN}{text}{_CLOSE}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _people(spec: ShotSpec, styles: tuple[CaptionStyle, ...], rng: Random) -> str:
    """Who does what."""
    verbs = [rng.choice(VERBS[actor.action]) for actor in spec.actors]
    if len(spec.actors) == 1:
        subject = "the hero" if styles[0] == "hero" else _subject(spec.actors[0], styles[0], rng, "")
        return _clause(f"{subject} {verbs[0]}")
    if styles[0] == "hero":
        left, right = (
            _clause(f"the one on the {side} {verb}") for side, verb in zip(("left", "right"), verbs, strict=True)
        )
        return f"the two heroes are together; {left}, {right}"
    sides = ("on the left", "on the right") if rng.random() < 0.5 else ("", "")
    left, right = (
        _clause(f"{_subject(actor, style, rng, side)} {verb}")
        for actor, style, side, verb in zip(spec.actors, styles, sides, verbs, strict=True)
    )
    return f"{left} {rng.choice(('and', 'while'))} {right}"


def _when(spec: ShotSpec, rng: Random) -> tuple[str, str]:
    """Time and weather: a phrase and perhaps a sentence."""
    kind = PLACES[spec.place.kind]
    if kind.timeless:
        return "", ""
    if kind.indoors:
        return rng.choice(_TIMES[spec.time]), ""
    if rng.random() < 0.5:
        word = ("clear" if spec.time == "night" else "sunny") if spec.weather == "clear" else spec.weather
        return f"on a {word} {_DAYS[spec.time]}", ""
    return rng.choice(_TIMES[spec.time]), rng.choice(_WEATHERS[spec.weather])


def told_attributes(style: CaptionStyle) -> tuple[str, ...]:
    """The attributes of `ATTRIBUTES` that a caption of this style tells."""
    return ATTRIBUTES if style in ("full", "look") else ("species",) if style == "brief" else ()


def vocabulary() -> tuple[str, ...]:
    """Every word that captions can contain, in small letters, sorted."""
    from storymem.worlds.storyland.heroes import ACCESSORIES, BUILDS, HATS, NAMES, NECKWEAR, SPECIES
    from storymem.worlds.storyland.palette import COLOURS

    texts: list[str] = [
        *SPECIES,
        *BUILDS,
        *COLOURS,
        *HATS,
        *NECKWEAR,
        *ACCESSORIES,
        *NAMES,
        *_PATTERN.values(),
        *_DAYS.values(),
    ]
    for table in (VERBS, _PLACES, _TIMES, _WEATHERS, _SHOTS, _CAMERAS):
        texts += [phrase for phrases in table.values() for phrase in phrases]
    texts += ["a an the and while with in wearing on left right sunny clear cloudy rainy snowy foggy windy"]
    texts += ["the two heroes are together the one on the hero"]
    return tuple(sorted({word.lower() for text in texts for word in re.findall(r"[A-Za-z-]+", text)}))


def strange_words(prompts: Iterable[str], most: int = 12) -> list[str]:
    """Words of prompts that no caption contains, each once and in order; after `most`, how many more there are."""
    known = set(vocabulary())
    words = (word.lower() for prompt in prompts for word in re.findall(r"[^\W\d_]+(?:-[^\W\d_]+)*", prompt))
    strange = list(dict.fromkeys(word for word in words if word not in known))
    return strange if len(strange) <= most else [*strange[:most], f"and {len(strange) - most} more"]
