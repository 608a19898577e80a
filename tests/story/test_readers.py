from __future__ import annotations

import io
import json
import math
from typing import Any

import json5
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from storymem.story.jsontext import read_json5
from storymem.story.nodes import SyntaxProblem, field_path
from storymem.story.yamltext import plain_scalar, read_yaml

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
values: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=12,
)


@given(values, st.sampled_from([None, 1]))
def test_json_is_read_as_the_standard_library_reads_it(value: object, indent: int | None) -> None:
    for ascii_only in (True, False):
        assert read_json5(json.dumps(value, indent=indent, ensure_ascii=ascii_only)).plain() == value


@given(values)
def test_json5_is_read_as_the_json5_library_writes_it(value: object) -> None:
    text = json5.dumps(value, indent=1, trailing_commas=True, quote_style=json5.QuoteStyle.ALWAYS_SINGLE)
    assert read_json5(text).plain() == value


@pytest.mark.parametrize(
    "text",
    [
        "{a: 1, $b_: +2, 'c': .5, \"d\": 0xFf, e: -Infinity, \\u0066: 5.,}",
        "['\\x41', 'a\\\nb', '\\'', \"'\", \"\\v\", 'tab\there',]",
        "/* a */ [1, // b ]\n 2 /* , 3 */]",
        "\ufeff\u00a0[]",
        "'/* no comment */ // neither'",
        "null",
    ],
)
def test_json5_by_hand(text: str) -> None:
    assert read_json5(text).plain() == json5.loads(text.removeprefix("\ufeff"))


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("[1\n2]", "found '2' where a comma or ']' is wanted", 2),
        ("{a 1}", "found '1' where ':' after the name \"a\" is wanted", 1),
        ("{a: }", "found '}' where a value is wanted", 1),
        ("{: 1}", "found ':' where a name in quotes or '}' is wanted", 1),
        ("[1,,2]", "found ',' where a value is wanted", 1),
        ("[1}", "found '}' where a comma or ']' is wanted", 1),
        ("{\n", "found the end of the file where a name in quotes or '}' is wanted", 2),
        ("[]\n]", "found ']' where the end of the file is wanted", 2),
        ("[\n'abc\n']", "found a text without its closing quote", 2),
        ("[\n/* abc\n]", "found a comment that does not end", 2),
        ("[1/2]", "found '/' outside a text", 1),
        ("[tru]", "found tru; a text must be in quotes", 1),
        ("[" + "9" * 500 + "]", "a text must be in quotes", 1),
        ('["\\u12"]', "write \\ as \\\\", 1),
        ("{1a: 2}", "found 1a", 1),
        ("{" + "a" * 500 + ": 2}", "as a name; put it in quotes", 1),
        ("  // nothing", "the file is empty", None),
    ],
)
def test_what_is_no_json5(text: str, message: str, line: int | None) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        read_json5(text)
    assert message in caught.value.problem.message
    assert caught.value.problem.line == line


def test_lines_are_those_of_names_and_of_list_items() -> None:
    for tree in (
        read_json5('{\n"a":\n [1,\n  2],\n"b": {"c":\n 3}}'),
        read_yaml("# c\na:\n  - 1\n  - 2\nb: {c: \n  3}"),
    ):
        assert [tree.line_of(path) for path in [("a",), ("a", 0), ("a", 1), ("b",), ("b", "c")]] == [2, 3, 4, 5, 5]
        assert tree.line_of(("b", "x", "y")) == 5
        assert tree.line_of(("a", 7)) == 2
        assert tree.line_of(("a", 0, "x", 0)) == 3


def test_keys_given_twice_are_noted_and_the_first_one_counts() -> None:
    for tree in (read_json5('{"a": {"b": 1,\n"b": [2]}}'), read_yaml("a:\n  b: 1\n  b: [2]")):
        assert tree.plain() == {"a": {"b": 1}}
        (problem,) = tree.mistakes
        assert (problem.field, problem.message[:12]) == ("a.b", "stands twice")


@given(values)
@settings(max_examples=50, deadline=None)
def test_yaml_is_read_as_its_library_writes_it(value: object) -> None:
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_unicode = True
    yaml.default_flow_style = False  # its flow style writes keys such as ":0" that it cannot read itself
    out = io.StringIO()
    yaml.dump(value, out)
    assert read_yaml(out.getvalue()).plain() == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("12:30", "12:30"),
        ("2001-12-14", "2001-12-14"),
        ("1_000", "1_000"),
        ("True", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("007", 7),
        ("0o17", 15),
        ("0xff", 255),
        ("+1", 1),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", -math.inf),
        (".", "."),
        ("1.2.3", "1.2.3"),
        ("0b1", "0b1"),
    ],
)
def test_plain_words_follow_the_core_schema(text: str, value: object) -> None:
    assert plain_scalar(text) == value
    assert type(plain_scalar(text)) is type(value)


def test_tags_of_the_core_schema_are_allowed() -> None:
    assert read_yaml("a: !!str 42\nb: !!int 42\nc: ! 42\nd: !!seq [!!map {}]").plain() == {
        "a": "42",
        "b": 42,
        "c": "42",
        "d": [{}],
    }
    with pytest.raises(SyntaxProblem, match="found the tag !foo; a script needs no tags"):
        read_yaml("a: !foo 1")


def test_field_paths() -> None:
    assert field_path(("scenes", 0, "shots", 2, "cut")) == "scenes[0].shots[2].cut"
    assert field_path(("cast", "Old Tom", "references", 1)) == 'cast["Old Tom"].references[1]'
    assert field_path(()) == ""


NEVER, ELSEWHERE, INSIDE = (
    "is never closed",
    "is closed on line 3, where more follows",
    "goes on behind the next one",
)


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ('title: "Owl\nshots:\n- Milo waves\n', NEVER, 1),
        ("title: O\nshots: ['a]\n- b\n", NEVER, 2),
        ('title: "Owl\nshots:\n- "Milo waves"\n- b\n', ELSEWHERE, 1),
        ("title: 'Owl\nshots:\n- Milo's cap\n", ELSEWHERE, 1),
        ("title: O\nshots:\n- 'Zora's cap'\n", INSIDE, 3),
        ('title: O\nshots:\n- "Hi!" says Milo.\n', INSIDE, 3),
        ('title: "O"\nshots:\n- a: b\n  - c\n', "look at the indentation", 4),
    ],
)
def test_a_quote_that_is_left_open_is_told_where_it_opens(text: str, message: str, line: int) -> None:
    with pytest.raises(SyntaxProblem) as caught:
        read_yaml(text)
    assert message in caught.value.problem.message
    assert caught.value.problem.line == line
