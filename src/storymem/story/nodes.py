"""The tree that both script syntaxes are read into: plain values that know their lines.

The readers (`jsontext`, `yamltext`) are iterative and bounded: no text, however deep or self-repeating, costs more than
its length. What they cannot go on from they raise as a `SyntaxProblem`; what they can, they note in `mistakes`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from storymem.errors import Problem

__all__ = [
    "MAX_DEPTH",
    "Key",
    "Node",
    "Scalar",
    "SyntaxProblem",
    "Tree",
    "describe",
    "field_path",
    "shorten",
]

MAX_DEPTH = 32
"""Deepest nesting of lists and mappings; a script needs eight."""

MAX_NODES = 200_000
"""Most values a script may have once its aliases are written out."""

Scalar = str | int | float | bool | None
Key = str | int


@dataclass(slots=True)
class Node:
    """One value: a scalar, a mapping or a list of nodes. `line` is 1-based; a mapping's member, its name."""

    value: Scalar | dict[str, Node] | list[Node]
    line: int


class SyntaxProblem(Exception):
    """The text is not what its syntax allows, and reading cannot go on."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.problem = Problem("", message, line)


@dataclass(slots=True)
class Tree:
    """A script as read: its root, and what was wrong on the way."""

    root: Node
    mistakes: list[Problem] = field(default_factory=list)

    def line_of(self, path: Sequence[Key]) -> int | None:
        """Line of the value at `path`, or of the innermost value on the way to it that exists."""
        node = self.root
        for key in path:
            children: Any = node.value
            try:
                child = children[key]
            except (LookupError, TypeError):
                break
            if not isinstance(child, Node):  # a letter of a text
                break
            node = child
        return node.line

    def plain(self) -> object:
        """The tree as dicts, lists and scalars; notes empty values and characters that no text may have.

        Raises:
            SyntaxProblem: aliases multiply the values beyond reason, or a name has a character that no text may have.
        """
        return _Plain(self).convert(self.root, ())


class _Plain:
    """Converts a tree once; aliases make it deeper and larger than its text, so both are bounded here again."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.count = 0

    def convert(self, node: Node, path: tuple[Key, ...]) -> object:
        self.count += 1
        if self.count > MAX_NODES:
            raise SyntaxProblem(
                f"has more than {MAX_NODES:,} values once its aliases are written out; a script needs far fewer", None
            )
        if len(path) > MAX_DEPTH:
            raise SyntaxProblem(f"is nested more than {MAX_DEPTH} deep; a script needs far less", node.line)
        value = node.value
        if isinstance(value, dict):
            for key, child in value.items():
                if (wrong := _forbidden(key)) is not None:
                    message = f"found the character U+{ord(wrong):04X} in a name, which no text may have; take it out"
                    raise SyntaxProblem(message, child.line)
            return {key: self.convert(child, (*path, key)) for key, child in value.items()}
        if isinstance(value, list):
            return [self.convert(child, (*path, index)) for index, child in enumerate(value)]
        if value is None:
            self._note(node, path, "found nothing; write a value, or leave the field out")
        elif isinstance(value, str) and (wrong := _forbidden(value)) is not None:
            self._note(node, path, f"found the character U+{ord(wrong):04X}, which no text may have; take it out")
        return value

    def _note(self, node: Node, path: tuple[Key, ...], message: str) -> None:
        if path:  # an empty file is reported as such, once
            self.tree.mistakes.append(Problem(field_path(path), message, node.line))


def _forbidden(text: str) -> str | None:
    """The first control character or lone surrogate in `text`: neither can be written to the files of a film."""
    for character in text:
        code = ord(character)
        if (code < 32 and character not in "\t\n\r") or 127 <= code < 160 or 0xD800 <= code < 0xE000:
            return character
    return None


def field_path(path: Sequence[Key]) -> str:
    """``('scenes', 0, 'shots', 2, 'cut')`` as ``scenes[0].shots[2].cut``; odd names in quotes: ``cast["Old Tom"]``."""
    out = ""
    for key in path:
        if isinstance(key, int):
            out += f"[{key}]"
        elif key.isidentifier():
            out += f".{key}" if out else key
        else:
            out += f'["{key if key.isprintable() and len(key) <= 40 else shorten(key)}"]'
    return out


def shorten(text: str, width: int = 40) -> str:
    """`text` on one line, cut off where it gets long."""
    line = " ".join(text.split())
    line = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in line)
    return line if len(line) <= width else line[: width - 1] + "…"


def describe(value: object) -> str:
    """`value` in a message, after the word "found"."""
    match value:
        case None:
            found = "nothing"
        case bool():
            found = "true" if value else "false"
        case int() | float():
            found = f"the number {shorten(str(value), 30)}"
        case str():
            found = f'"{shorten(value)}"' if value.strip() else "an empty text"
        case list():
            found = f"a list of {len(value)}" if value else "an empty list"
        case dict():
            found = f"fields ({shorten(', '.join(map(str, value)))})" if value else "an empty mapping"
        case _:
            found = shorten(repr(value))
    return found
