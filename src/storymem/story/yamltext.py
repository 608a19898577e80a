"""Reading YAML 1.2 text into a tree that knows its lines.

ruamel.yaml's event stream is used, not its constructors: nothing in a script can then make an object, aliases cost
nothing until they are counted, and plain words are read by the core schema (https://yaml.org/spec/1.2.2/#103-core-schema),
in which ``no`` is a text and ``12:30`` too.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from storymem.errors import Problem
from storymem.story.nodes import MAX_DEPTH, Key, Node, Scalar, SyntaxProblem, Tree, field_path, shorten

__all__ = ["plain_scalar", "plain_texts", "read_yaml"]

_TAG = "tag:yaml.org,2002:"
_WORDS: dict[str, Scalar] = {"": None, "~": None}
_WORDS |= dict.fromkeys(("null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True)
_WORDS |= dict.fromkeys(("false", "False", "FALSE"), False)
_WORDS |= {sign + word: float(sign + "inf") for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")}
_WORDS |= {word: float("nan") for word in (".nan", ".NaN", ".NAN")}
_INT = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def plain_scalar(text: str) -> Scalar:
    """The value of an unquoted word in YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text


def read_yaml(text: str) -> Tree:
    """Read one YAML document; newlines must be ``\\n``.

    Raises:
        SyntaxProblem: the text is not YAML, is empty, is nested too deeply, or has more than one document.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    reader = _Reader()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ruamel warns of anchors used again, which the specification allows
            for event in YAML(typ="safe", pure=True).parse(text):
                reader.take(event)
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        raise SyntaxProblem(f"found the character U+{code:04X}, which no text may have; take it out", line) from None
    except MarkedYAMLError as error:
        if quotes := _open_quote(error, reader.quoted):
            raise quotes from None
        mark = error.problem_mark or error.context_mark
        raise SyntaxProblem(_explain(error), None if mark is None else mark.line + 1) from None
    except YAMLError as error:
        raise SyntaxProblem(f"not valid YAML: {shorten(str(error), 120)}", None) from None
    if reader.root is None or reader.root.value is None:
        raise SyntaxProblem("the file is empty; a script needs at least a title and one shot", None)
    return Tree(reader.root, reader.mistakes)


def plain_texts(text: str) -> Iterator[tuple[str, int, int]]:
    """The texts of a YAML document that stand in no quotes, each with the line and the column, from 0, of its end."""
    from ruamel.yaml import YAML, events

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for event in YAML(typ="safe", pure=True).parse(text):
            if isinstance(event, events.ScalarEvent) and event.style is None:
                yield event.value, event.end_mark.line, event.end_mark.column


def _open_quote(error: Any, last: tuple[int, int] | None) -> SyntaxProblem | None:
    """The problem as a quote that is not closed where its text ends, if that is what it is.

    Args:
        error: of the parser.
        last: first and last line of the text in quotes that it read last.
    """
    if error.context == "while scanning a quoted scalar" and "end of stream" in str(error.problem):
        return SyntaxProblem(
            "the quote that opens here is never closed; close it at the end of its text", error.context_mark.line + 1
        )
    if last is None or "'<scalar>'" not in str(error.problem) or error.problem_mark.line + 1 != last[1]:
        return None
    first, end = last
    if first == end:
        what = (
            "the text that begins with a quote goes on behind the next one; put all of it in the other kind of quotes"
        )
    else:
        what = f"the quote that opens here is closed on line {end}, where more follows; close it at the end of its text"
    return SyntaxProblem(f"{what}, or write it on the lines after a '>-'", first)


def _explain(error: Any) -> str:
    problem = " ".join(str(error.problem or error.context).split()).replace("'<stream end>'", "the end of the file")
    hint = ""
    if "'\\t'" in problem or "\t" in problem:
        hint = "; indent with spaces, not tabs"
    elif "mapping values are not allowed" in problem:
        hint = "; a text with a colon and a blank in it must be in quotes, or stand on the lines after a '>-'"
    elif "could not find expected ':'" in problem or "expected <block end>" in problem:
        hint = "; look at the indentation and the quotes of this line and the one before"
    return f"not valid YAML: {problem}{hint}"


@dataclass(frozen=True, slots=True)
class _Key:
    name: str
    line: int
    is_text: bool


class _Reader:
    """Builds the tree from events, with a stack of open containers."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.mistakes: list[Problem] = []
        self.open: list[tuple[Node, str | None]] = []  # with the anchor it will be known by
        self.keys: list[_Key | None] = []  # for each open container: the key whose value comes next
        self.anchors: dict[str, Node] = {}
        self.documents = 0
        self.quoted: tuple[int, int] | None = None  # first and last line of the text in quotes that came last

    def take(self, event: Any) -> None:
        """Take the next event of the parser."""
        from ruamel.yaml import events

        line = event.start_mark.line + 1
        if isinstance(event, events.DocumentStartEvent):
            self.documents += 1
            if self.documents > 1:
                raise SyntaxProblem("a second document begins here ('---'); a script is one document", line)
        elif isinstance(event, events.AliasEvent):
            if event.anchor not in self.anchors:
                raise SyntaxProblem(f"*{event.anchor} refers to nothing before it; write &{event.anchor} there", line)
            target = self.anchors[event.anchor]
            self.place(Node(target.value, line), None)
            if isinstance(target.value, (dict, list)):
                self.value_done()  # a container that comes by its alias has no end event
        elif isinstance(event, events.ScalarEvent):
            if event.style in ("'", '"'):
                self.quoted = (line, event.end_mark.line + 1)
            self.place(Node(self.scalar(event, line), line), event.anchor)
        elif isinstance(event, (events.MappingStartEvent, events.SequenceStartEvent)):
            is_mapping = isinstance(event, events.MappingStartEvent)
            self.check_tag(event.tag, ("map", "omap") if is_mapping else ("seq",), line)
            if len(self.open) >= MAX_DEPTH:
                raise SyntaxProblem(f"is nested more than {MAX_DEPTH} deep; a script needs far less", line)
            node = Node({} if is_mapping else [], line)
            self.place(node, None)
            self.open.append((node, event.anchor))
            self.keys.append(None)
        elif isinstance(event, (events.MappingEndEvent, events.SequenceEndEvent)):
            node, anchor = self.open.pop()
            self.keys.pop()
            if anchor is not None:  # known only from its end on, so that nothing can contain itself
                self.anchors[anchor] = node
            self.value_done()

    def place(self, node: Node, anchor: str | None) -> None:
        """Put a value where it belongs: the root, a key, a key's value, or the next item of a list."""
        if anchor is not None:
            self.anchors[anchor] = node
        if not self.open:
            self.root = node
            return
        container = self.open[-1][0].value
        if isinstance(container, list):
            container.append(node)
            return
        assert isinstance(container, dict)
        pending = self.keys[-1]
        if pending is None:
            self.keys[-1] = self.key(node)
            return
        key = pending.name
        node.line = pending.line
        if not pending.is_text:
            pass  # noted when the key was read
        elif key in container:
            message = f"stands twice, first on line {container[key].line}; keep one"
            self.mistakes.append(Problem(field_path([*self.path(), key]), message, node.line))
        else:
            container[key] = node
        if not isinstance(node.value, (dict, list)):
            self.keys[-1] = None

    def value_done(self) -> None:
        if self.keys and isinstance(self.open[-1][0].value, dict):
            self.keys[-1] = None

    def key(self, node: Node) -> _Key:
        if isinstance(node.value, str):
            return _Key(node.value, node.line, is_text=True)
        if isinstance(node.value, (dict, list)):
            raise SyntaxProblem("found a list or mapping as the name of a field; a name is a text", node.line)
        word = "nothing" if node.value is None else str(node.value).lower()
        message = f"found {word} as the name of a field; a name is a text: put it in quotes"
        self.mistakes.append(Problem(field_path(self.path()), message, node.line))
        return _Key(word, node.line, is_text=False)

    def path(self) -> list[Key]:
        """Path of the innermost open container."""
        out: list[Key] = []
        for (node, _), key in zip(self.open[:-1], self.keys[:-1], strict=True):
            if isinstance(node.value, list):
                out.append(len(node.value) - 1)
            elif key is not None:
                out.append(key.name)
        return out

    def scalar(self, event: Any, line: int) -> Scalar:
        plain = plain_scalar(event.value)
        if event.tag is None:
            return plain if event.implicit[0] else str(event.value)
        if event.tag in ("!", _TAG + "str"):
            return str(event.value)
        self.check_tag(event.tag, ("null", "bool", "int", "float"), line)
        return plain

    def check_tag(self, tag: str | None, allowed: tuple[str, ...], line: int) -> None:
        if tag is not None and tag not in {"!", *(_TAG + name for name in allowed)}:
            raise SyntaxProblem(f"found the tag {shorten(tag)}; a script needs no tags: take it out", line)
