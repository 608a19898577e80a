"""Reading JSON5 text (JSON with comments, trailing commas, single quotes) into a tree that knows its lines.

The structure is read here, by a loop over tokens, because no JSON library tells where a value stood; the values
themselves are read by the standard library and, where they are not plain JSON, by the json5 library.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, NoReturn

from storymem.errors import Problem
from storymem.story.nodes import MAX_DEPTH, Key, Node, Scalar, SyntaxProblem, Tree, field_path, shorten

__all__ = ["read_json5"]

_TOKEN = re.compile(
    r"""(?P<blank>[\s\ufeff]+|//[^\n\u2028\u2029]*|/\*.*?\*/)
      | (?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
      | (?P<mark>[{}\[\]:,])
      | (?P<word>[^\s{}\[\]:,"'/]+)""",
    re.DOTALL | re.VERBOSE,
)
_LONGEST_WORD = 400  # a word is a number, a name or true, false and null


@dataclass(slots=True)
class _Token:
    kind: str
    text: str
    line: int


def _tokens(text: str) -> list[_Token]:
    out, position, line = [], 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise SyntaxProblem(f"not valid JSON: found {_unreadable(text, position)}", line)
        kind = match.lastgroup or "blank"
        if kind != "blank":
            out.append(_Token(kind, match.group(), line))
        line += match.group().count("\n")
        position = match.end()
    out.append(_Token("end", "", line))
    return out


def _unreadable(text: str, position: int) -> str:
    if text[position] == "/":
        return "a comment that does not end" if text.startswith("/*", position) else "'/' outside a text"
    return 'a text without its closing quote; close it on the same line, and write a quote inside as \\"'


def read_json5(text: str) -> Tree:
    """Read a JSON5 document; newlines must be ``\\n``.

    Raises:
        SyntaxProblem: the text is not JSON5, is empty, or is nested too deeply.
    """
    return _Reader(text).document()


class _Reader:
    """A loop over tokens with a stack of open containers, instead of recursion: depth costs nothing but the limit."""

    def __init__(self, text: str) -> None:
        self.tokens = iter(_tokens(text))
        self.token = next(self.tokens)
        self.mistakes: list[Problem] = []
        self.open: list[Node] = []
        self.path: list[Key] = []

    def advance(self) -> _Token:
        token = self.token
        self.token = next(self.tokens, token)
        return token

    def fail(self, wanted: str) -> NoReturn:
        found = "the end of the file" if self.token.kind == "end" else f"'{shorten(self.token.text)}'"
        raise SyntaxProblem(f"not valid JSON: found {found} where {wanted} is wanted", self.token.line)

    def document(self) -> Tree:
        if self.token.kind == "end":
            raise SyntaxProblem("the file is empty; a script needs at least a title and one shot", None)
        root = self.begin_value()
        while self.open:
            self.step()
        if self.token.kind != "end":
            self.fail("the end of the file")
        return Tree(root, self.mistakes)

    def step(self) -> None:
        """Read one member of the innermost container, or its end."""
        container = self.open[-1]
        value = container.value
        if isinstance(value, dict):
            if self.token.text == "}" and self.token.kind == "mark":
                self.close()
                return
            key, line = self.key()
            if not (self.token.kind == "mark" and self.token.text == ":"):
                self.fail(f"':' after the name \"{shorten(key)}\"")
            self.advance()
            if key in value:
                first = value[key].line
                self.mistakes.append(
                    Problem(field_path([*self.path, key]), f"stands twice, first on line {first}; keep one", line)
                )
            self.path.append(key)
            node = self.begin_value()
            node.line = line
            value.setdefault(key, node)
        else:
            assert isinstance(value, list)
            if self.token.text == "]" and self.token.kind == "mark":
                self.close()
                return
            self.path.append(len(value))
            value.append(self.begin_value())

    def begin_value(self) -> Node:
        """Read a scalar with the comma after it, or open a container."""
        token = self.advance()
        if token.kind == "mark" and token.text in "{[":
            if len(self.open) >= MAX_DEPTH:
                raise SyntaxProblem(f"is nested more than {MAX_DEPTH} deep; a script needs far less", token.line)
            node = Node({} if token.text == "{" else [], token.line)
            self.open.append(node)
            return node
        if token.kind not in ("text", "word"):
            self.token = token
            self.fail("a value")
        node = Node(_scalar(token), token.line)
        self.after_value()
        return node

    def close(self) -> None:
        self.advance()
        self.open.pop()
        self.after_value()

    def after_value(self) -> None:
        """What may stand after a value: a comma, or the end of the container it is in."""
        if not self.open:
            return
        self.path.pop()
        end = "}" if isinstance(self.open[-1].value, dict) else "]"
        if self.token.kind == "mark" and self.token.text == ",":
            self.advance()
        elif not (self.token.kind == "mark" and self.token.text == end):
            self.fail(f"a comma or '{end}'")

    def key(self) -> tuple[str, int]:
        token = self.token
        if token.kind == "text":
            key = _scalar(token)
            assert isinstance(key, str)
        elif token.kind == "word":
            key = _identifier(token)
        else:
            self.fail("a name in quotes or '}'")
        self.advance()
        return key, token.line


def _scalar(token: _Token) -> Scalar:
    if token.kind == "word" and len(token.text) > _LONGEST_WORD:
        raise SyntaxProblem(f"not valid JSON: found '{shorten(token.text)}'; a text must be in quotes", token.line)
    if token.kind == "text" and "\\" not in token.text:
        return token.text[1:-1]
    try:
        value: Scalar = json.loads(token.text)
    except ValueError:
        value = _json5(token.text, token)
        if isinstance(value, str):  # the json5 library leaves the two halves of an escaped character apart
            value = value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
    return value


def _identifier(token: _Token) -> str:
    if len(token.text) <= _LONGEST_WORD:
        pairs = _json5("{" + token.text + ":0}", token)
        if isinstance(pairs, dict) and len(pairs) == 1:
            return str(next(iter(pairs)))
    raise SyntaxProblem(f"not valid JSON: found '{shorten(token.text)}' as a name; put it in quotes", token.line)


def _json5(text: str, token: _Token) -> Any:
    import json5

    try:
        return json5.loads(text)
    except ValueError:
        hint = "a text must be in quotes" if token.kind == "word" else "an escape in it is wrong: write \\ as \\\\"
        message = f"not valid JSON: found {shorten(token.text)}; {hint}"
        raise SyntaxProblem(message, token.line) from None
