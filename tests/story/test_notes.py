from __future__ import annotations

from pathlib import Path

import pytest

from storymem.story import load_story, parse_story
from storymem.story.notes import notes_on

EXAMPLES = Path(__file__).parents[2] / "examples"
CAST = "cast: {Milo: a little fox, Mara Stone: a sailor, Mara: a girl}"


def notes(*prompts: str, cast: str = CAST) -> list[str]:
    shots = "".join(f"- {prompt}\n" for prompt in prompts)
    return notes_on(parse_story(f"title: T\n{cast}\nshots:\n{shots}", "film.yaml", None))


def test_the_examples_mean_what_they_say() -> None:
    for path in EXAMPLES.glob("*.yaml"):
        assert notes_on(load_story(path)) == []


def test_a_name_that_no_prompt_has_is_told_with_what_may_be_meant_by_it() -> None:
    assert notes("Mara Stone meets Mara.", "Millo walks.") == [
        'no prompt names Milo of the cast (shot 01-02 has "Millo"); what the cast says of Milo reaches no shot.'
    ]
    (said,) = notes("Mara Stone meets Mara.")
    assert said.startswith("no prompt names Milo of the cast; ")


def test_a_name_in_other_capitals_is_told_with_its_shot() -> None:
    assert notes("Milo, Mara Stone, Mara.", "The cat sits.", "milo sits.") == [
        'shot 01-03 writes "milo", the cast "Milo": only in these capitals is it the character.'
    ]
    rose = "cast: {Rose: a girl}"
    assert notes("Rose holds a rose.", "The rose fades.", cast=rose) == []
    assert notes("Mara Stone and Milo.", "Mara.", "Old Milo-Lou.") == []


@pytest.mark.parametrize(
    ("line", "cut"),
    [
        ("- The room #3 is dark.", "#3"),
        ("- prompt: Room two #and a half", "#and"),
        ("- Room 3  # a comment", None),
        ("- 'Room #3'", None),
        ("- The room#3 is dark.", None),
        ("- >-\n  Room #3 is dark.", None),
        ("- {prompt: The room., seed: 7} #lucky", None),
    ],
)
def test_a_prompt_that_a_comment_cuts_is_told(tmp_path: Path, line: str, cut: str | None) -> None:
    path = tmp_path / "film.yaml"
    path.write_bytes(f"\ufefftitle: T\r\nshots:\r\n- A room\n  at night.\n{line}\r\n".encode())
    said = notes_on(load_story(path))
    wanted = f'line 5: " {cut}" begins a comment in YAML, and the text ends before it; '
    assert said == ([] if cut is None else [wanted + "if it belongs to the text, put the text in quotes."])
