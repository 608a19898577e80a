"""What a prompt tells of heroes: the way back from captions, and from what people write in the words of captions.

Words are read in order. A name, or a species with what is said of its fur, says who is spoken of, and what is worn and
done belongs to whoever was spoken of last. What is said behind the sentence of the last deed (weather, camera, things
that lie about) is said of nobody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from storymem.worlds.storyland.captions import VERBS, vocabulary
from storymem.worlds.storyland.heroes import (
    ACCESSORIES,
    ATTRIBUTES,
    BUILDS,
    HATS,
    NAMES,
    NECKWEAR,
    PATTERNS,
    SPECIES,
)
from storymem.worlds.storyland.palette import COLOURS

__all__ = ["MOST_HEROES", "HeroTold", "heroes_told"]

MOST_HEROES = 2
"""Of a shot."""
_KINDS = {"hat": HATS, "neckwear": NECKWEAR, "accessory": ACCESSORIES}
_THINGS = {name: kind for kind, names in _KINDS.items() for name in names}
_FUR = {"species": SPECIES, "build": BUILDS, "colour": COLOURS, "pattern": PATTERNS}
_DEEDS = {phrase: action for action, phrases in VERBS.items() for phrase in phrases}
# "a hat", of which nobody can say which: that there is none is not told, then.
_VAGUE = {name.split()[-1]: kind for name, kind in _THINGS.items() if " " in name}


def _any_of(phrases: Iterable[str]) -> str:
    """Whole phrases, the longest first: "bow tie" before "bow"; blanks may be line ends, or hyphens.

    Of ASCII letters: the Kelvin sign and such are no letters of theirs, though they are in small letters.
    """
    longest_first = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    either = "|".join(longest_first).replace(" ", r"(?u:[\s-]+)")
    return rf"(?<![\w-])(?a:{either})(?![\w-])"


_ADJECTIVES = _any_of((*BUILDS, *PATTERNS, *COLOURS))
_PARTS = {
    "deed": _any_of(_DEEDS),
    "kind": rf"(?:{_ADJECTIVES}(?:\s*,)?\s+(?:and\s+)?){{0,6}}{_any_of(SPECIES)}",
    "thing": rf"(?:{_any_of(COLOURS)}\s+)?{_any_of((*_THINGS, *_VAGUE))}",
    "someone": _any_of(("the one", "the other", "the other one", "another", "the second")),
    "name": r"(?-i:(?<![\w-])[^\W\d_a-zß-ÿ]\w*(?:-\w+)*)",  # whatever has a capital letter, or a script that has none
}
_PART = re.compile("|".join(f"(?P<{name}>{pattern})" for name, pattern in _PARTS.items()), re.IGNORECASE)
_COLOUR = re.compile(_any_of(COLOURS), re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")
# Behind these, as at the start of a sentence, "waves" are those of the sea, and "Paris" is where somebody is.
_BEFORE_OBJECTS = {
    *("a", "an", "the", "of", "to", "at", "by", "in", "on", "with", "from", "for", "over", "into", "through"),
    *("near", "beside", "behind", "before", "toward", "towards"),
}
_NO_NAMES = {word for word in vocabulary() if word not in {name.lower() for name in NAMES}} | {
    *("he", "she", "it", "they", "his", "her", "its", "their", "this", "that", "then", "but", "as", "when", "where"),
    *("now", "after", "before", "later", "suddenly", "still", "who", "here", "for", "from", "with", "to", "by", "of"),
}


@dataclass(frozen=True, slots=True)
class HeroTold:
    """What a prompt tells of one hero.

    Attributes:
        attributes: those that are told, by the names of `ATTRIBUTES`; None for what is told not to be worn. There is
            no colour of what is not worn.
        action: one of `ACTIONS`; None if none is told, or more than one.
    """

    attributes: Mapping[str, str | None]
    action: str | None


@dataclass(slots=True)
class _Person:
    """Somebody who is spoken of, as far as the prompt was read."""

    names: set[str] = field(default_factory=set)
    looks: dict[str, str | None] = field(default_factory=dict)
    vague: set[str] = field(default_factory=set)
    """Kinds of things that are worn, and nobody can say which."""
    actions: dict[str, None] = field(default_factory=dict)
    """In order."""

    def wear(self, kind: str, name: str, colour: str | None) -> None:
        """The first of a kind counts."""
        if kind not in self.looks:
            self.looks[kind] = name
            if colour:
                self.looks[f"{kind}_colour"] = colour

    def told(self) -> HeroTold:
        looks = dict(self.looks)
        if "colour" in looks:  # a description, and descriptions leave out what is not there
            looks.setdefault("pattern", PATTERNS[0])
            for kind in _KINDS:
                if kind not in self.vague:
                    looks.setdefault(kind, None)
        action = next(iter(self.actions)) if len(self.actions) == 1 else None
        return HeroTold({name: looks[name] for name in ATTRIBUTES if name in looks}, action)


class _Reading:
    """A prompt while it is read, word by word."""

    def __init__(self) -> None:
        self.people: list[_Person] = []
        self.current: _Person | None = None  # who was spoken of last
        self.name: str | None = None  # one that was said since, and nobody is known to have
        self.name_is_subject = False  # and not that of where somebody is, or what somebody looks at

    def someone(self) -> _Person:
        """Somebody new."""
        person = _Person()
        self.people.append(person)
        self.name, self.current = None, person
        return person

    def _named(self) -> _Person:
        """Somebody new, or who was spoken of but not yet named, with the name that was said."""
        name, person = self.name, self.current
        if person is None or person.names or person.actions or "species" in person.looks:
            person = self.someone()
        if name is not None:
            person.names.add(name)
        self.name = None
        return person

    def say_name(self, name: str, *, is_object: bool, starts_sentence: bool, behind_kind: bool) -> None:
        if behind_kind and self.current is not None:  # "the fox Milo"
            self.current.names.add(name)
            return
        known = next((person for person in self.people if name in person.names), None)
        if known is None:
            # The first word of a sentence has a capital letter, whatever it is.
            self.name, self.name_is_subject = name, not is_object and (not starts_sentence or name in NAMES)
        elif not is_object:
            self.name, self.current = None, known

    def say_kind(self, text: str) -> None:
        words = _plain(text.replace(",", " ")).split()
        looks = {name: word for name, known in _FUR.items() for word in words if word in known}
        person = next((person for person in self.people if self._can_be(person, looks)), None)
        if person is None:
            person = self.current
            if person is None or person.actions or "species" in person.looks or (self.name and person.names):
                person = self.someone() if self.name is None else self._named()
        if self.name is not None:
            person.names.add(self.name)
        self.name, self.current = None, person
        for name, word in looks.items():
            person.looks.setdefault(name, word)

    def _can_be(self, person: _Person, looks: Mapping[str, str]) -> bool:
        """Whether a person who was spoken of is meant; two of one species differ in names or in fur."""
        if "species" not in person.looks or (self.name and person.names and self.name not in person.names):
            return False
        return all(person.looks.get(name, word) == word for name, word in looks.items())

    def say_thing(self, text: str, *, worn: bool) -> None:
        if self.current is None or (self.name is not None and self.name_is_subject):
            self._named()
        assert self.current is not None
        colour = _COLOUR.match(text)
        name = _plain(text[colour.end() :] if colour else text)
        if worn and name in _THINGS:
            self.current.wear(_THINGS[name], name, _plain(colour[0]) if colour else None)
        else:
            self.current.vague.add(_THINGS.get(name) or _VAGUE[name])

    def say_deed(self, text: str, *, behind_name: bool) -> None:
        person = self.current
        if person is None or (self.name is not None and (self.name_is_subject or behind_name)):
            person = self._named()
        person.actions.setdefault(_DEEDS[_plain(text)])
        self.name = None


def heroes_told(prompt: str) -> tuple[HeroTold, ...]:
    """What a prompt tells of its heroes.

    A description with a colour of the fur tells everything: a pattern that it does not speak of is plain, and things
    that it does not speak of are not worn. A species alone, a name alone, or "the one on the left" tell nothing more.

    Args:
        prompt: a caption, or what somebody wrote, with the cast woven in; any text will do.

    Returns:
        One or two, in the order in which the prompt speaks of them, which in captions is from left to right; none if
        it speaks of no species and of no deed that captions know.
    """
    parts = [part for part in _PART.finditer(prompt) if part.lastgroup != "deed" or _is_deed(prompt, part)]
    last_deed = max((part.start() for part in parts if part.lastgroup == "deed"), default=None)
    end = None if last_deed is None else _SENTENCE_END.search(prompt, last_deed)
    reading = _Reading()
    before, before_end = "", 0
    for part in parts:
        if end is not None and part.start() >= end.start():
            break
        kind = part.lastgroup
        behind = "" if prompt[before_end : part.start()].strip() else before  # what stands directly before it
        before, before_end = kind or "", part.end()
        if kind == "deed":
            reading.say_deed(part[0], behind_name=behind == "name")
        elif kind == "kind":
            reading.say_kind(part[0])
        elif kind == "someone":
            reading.someone()
        elif kind == "thing" and (reading.people or last_deed is not None):
            # What is said behind the last deed may be worn, and may lie about.
            idle = reading.current is None or not reading.current.actions
            reading.say_thing(part[0], worn=idle or last_deed is None or part.start() < last_deed)
        elif kind == "name" and part[0].lower() not in _NO_NAMES:
            reading.say_name(
                part[0],
                is_object=_is_object(prompt, part),
                starts_sentence=_starts_sentence(prompt, part),
                behind_kind=behind == "kind",
            )
    people = [person for person in reading.people if person.actions or "species" in person.looks]
    return tuple(person.told() for person in people[:MOST_HEROES])


def _plain(text: str) -> str:
    return " ".join(text.lower().replace("-", " ").split())


def _is_deed(prompt: str, part: re.Match[str]) -> bool:
    return not _is_object(prompt, part) and not _starts_sentence(prompt, part)


def _is_object(prompt: str, part: re.Match[str]) -> bool:
    words = prompt[: part.start()].rsplit(maxsplit=1)
    directly = part.start() > 0 and prompt[part.start() - 1].isspace()
    return directly and bool(words) and words[-1].lower() in _BEFORE_OBJECTS


def _starts_sentence(prompt: str, part: re.Match[str]) -> bool:
    ahead = prompt[: part.start()].rstrip(" \n\t\"'([")
    return not ahead or ahead[-1] in ".!?:;"
