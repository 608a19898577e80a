"""Weaving the cast into prompts: a prompt that names a character gets the description, so that every shot knows it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from storymem.story.model import Character

__all__ = ["normalise", "weave"]

# Scripts without blanks between words, and Korean, whose particles hang on to the name: no boundary is to be seen.
_NO_BOUNDARIES = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
_POSSESSIVE = re.compile(r"['\N{RIGHT SINGLE QUOTATION MARK}]s(?!\w)")
_KIND = re.compile(r" the (\w+)")  # of "Pip the fox"
_SENTENCE_END = re.compile(r"[.!?;:\n]")
_WORD = re.compile(r"\w+")
_SAY_NOTHING = frozenset(["a", "an", "the", "and", "in", "on", "of", "with", "who", "has", "wears", "wearing"])


def normalise(text: str) -> str:
    """`text` in Unicode's composed form (NFC), so that an é is an é however it was typed."""
    return unicodedata.normalize("NFC", text)


def weave(prompt: str, cast: Sequence[Character], *, describe: bool = True) -> tuple[str, tuple[str, ...]]:
    """Put the description of each named character behind the first mention of the name.

    As an apposition, as captions of films have it: "Mara opens the door." becomes "Mara, a girl with a red coat, opens
    the door."; where that cannot be read, in brackets: "Mara's (a girl with a red coat) hand". Names count as whole
    words, in this case of letters, hyphenated words not among them; where two names fit, the longer one does ("Mara
    Stone" before "Mara"). What else a character is called counts as the name, with a small or a capital first letter.
    A description that the prompt already has is not put in again.

    Args:
        prompt: as written.
        cast: the characters of the film.
        describe: False leaves the prompt as it is and only says who is named.

    Returns:
        The prompt with the cast woven in, and the names in it in order of first mention.
    """
    text = normalise(prompt)
    characters = {character.name: character for character in cast}
    named: dict[str, int] = {}  # name -> where its first mention ends
    position = 0
    spellings = _spellings(cast)
    by_length = sorted(spellings, key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, by_length))) if by_length else None
    while pattern is not None and (match := pattern.search(text, position)) is not None:
        found = next((spelling for spelling in by_length if _is_word(text, match.start(), spelling)), None)
        if found is None:
            position = match.start() + 1
            continue
        position = match.start() + len(found)
        named.setdefault(spellings[found], position)
    if not describe or not named:
        return prompt, tuple(named)

    pieces, done = [], 0
    for name, end in named.items():
        description = _inline(characters[name].description)
        if not description or _is_told(description, text, end):
            continue
        start = done
        done, piece = _piece(description, text, end, by_length)
        pieces.append(text[start:done] + piece)
    if not pieces:
        return prompt, tuple(named)
    return "".join(pieces) + text[done:], tuple(named)


def _spellings(cast: Sequence[Character]) -> dict[str, str]:
    """All that stands for a character in a prompt, and its name."""
    spellings = {character.name: character.name for character in cast}
    for character in cast:
        for other in character.called:
            for spelling in (other[:1].lower() + other[1:], other[:1].upper() + other[1:]):
                spellings.setdefault(spelling, character.name)
    return spellings


def _piece(description: str, text: str, end: int, names: Sequence[str]) -> tuple[int, str]:
    """Where behind a name that ends at `end` the description goes, and how it is put there."""
    if possessive := _POSSESSIVE.match(text, end):
        return possessive.end(), f" ({description})"
    kind = _KIND.match(text, end)
    other_kind = kind is not None and kind[1].casefold() not in _words(description)
    if kind is not None and not other_kind:
        end = kind.end()
    after = text[end:].lstrip()
    listed = after.startswith(",") and after[1:].lstrip().startswith(tuple(names))  # "Mara, Tom and Ada"
    unparted = _has_no_boundaries(text[end - 1]) or text[end : end + 1].isalnum()
    # Of another kind are "Mara the sailor" and "before Mara the door opens".
    if listed or unparted or other_kind or _SENTENCE_END.search(description):
        return end, f" ({description})"
    return end, f", {description}{',' if after[:1].isalnum() else ''}"


def _is_told(description: str, text: str, end: int) -> bool:
    """Whether the prompt has the description already: as it is, or behind the name in much the same words."""
    if _folded(description) in _folded(text):
        return True
    words = _words(description)
    behind = _words(text[end:])[: len(words) + len(words) // 2]
    telling = set(words) - _SAY_NOTHING
    return bool(telling) and telling <= set(behind)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _inline(description: str) -> str:
    """A description as it stands inside a sentence: on one line, without its full stop."""
    line = normalise(" ".join(description.split()))
    return line if line.endswith("...") else line.rstrip(".")


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _is_word(text: str, start: int, name: str) -> bool:
    """Whether `name` stands at `start` of `text` as a word of its own."""
    end = start + len(name)
    return text.startswith(name, start) and not (
        _joined(text[start - 1 :: -1][:2] if start else "", name[0]) or _joined(text[end : end + 2], name[-1])
    )


def _joined(outside: str, edge: str) -> bool:
    """Whether the name's character `edge` and the characters `outside` it (nearest first) belong to one word."""
    if not outside or not _in_word(edge):
        return False
    if outside[0] == "-":
        return len(outside) == 2 and _in_word(outside[1])
    return _in_word(outside[0])


def _in_word(character: str) -> bool:
    category = unicodedata.category(character)
    if category[0] not in "LNM" and character != "_":
        return False
    return not _has_no_boundaries(character)


def _has_no_boundaries(character: str) -> bool:
    return unicodedata.name(character, "").startswith(_NO_BOUNDARIES)
