from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storymem.story import Character
from storymem.story.cast import weave

MARA = Character("Mara", "a girl with a red coat")
STONE = Character("Mara Stone", "a grey old sailor")
TOM = Character("Tom", "a man with a beard.")


@pytest.mark.parametrize(
    ("prompt", "woven"),
    [
        ("Mara runs.", "Mara, a girl with a red coat, runs."),
        ("She is Mara", "She is Mara, a girl with a red coat"),
        ("Mara runs. Mara jumps.", "Mara, a girl with a red coat, runs. Mara jumps."),
        ("Mara, on the left, runs.", "Mara, a girl with a red coat, on the left, runs."),
        ("Mara\nruns.", "Mara, a girl with a red coat,\nruns."),
        ('"Mara!"', '"Mara, a girl with a red coat!"'),
        ("Tom and Mara", "Tom, a man with a beard, and Mara, a girl with a red coat"),
        ("Mara the girl runs.", "Mara the girl, a girl with a red coat, runs."),
        ("Mara the sailor runs.", "Mara (a girl with a red coat) the sailor runs."),
        # Where an apposition could not be read, in brackets.
        ("Mara's coat.", "Mara's (a girl with a red coat) coat."),
        ("Mara\u2019s coat.", "Mara\u2019s (a girl with a red coat) coat."),
        ("Mara, Tom.", "Mara (a girl with a red coat), Tom, a man with a beard."),
        ("Mara走进房间", "Mara (a girl with a red coat)走进房间"),
        ("The Maras of Tomsk, a mara, xMara, Mara_2, Marà, Mara-Lou.", None),
        ("Nobody is here.", None),
        ("Mara, a girl with a Red  coat, runs.", None),
        ("Mara, a girl in a red coat, runs.", None),
        ("Mara meets a girl in a blue coat.", "Mara, a girl with a red coat, meets a girl in a blue coat."),
        (
            "A girl sees Mara. Later, by the sea, she wears a red coat.",
            "A girl sees Mara, a girl with a red coat. Later, by the sea, she wears a red coat.",
        ),
    ],
)
def test_descriptions_stand_behind_the_first_mention(prompt: str, woven: str | None) -> None:
    assert weave(prompt, [MARA, TOM])[0] == (prompt if woven is None else woven)


def test_what_a_character_is_called_counts_as_the_name() -> None:
    cast = [Character("Mara", "a girl with a red coat", called=("the girl", "Miss Stone")), TOM]
    assert weave("The girl runs. Mara jumps.", cast) == (
        "The girl, a girl with a red coat, runs. Mara jumps.",
        ("Mara",),
    )
    assert weave("Tom sees the girl and the girls.", cast) == (
        "Tom, a man with a beard, sees the girl, a girl with a red coat, and the girls.",
        ("Tom", "Mara"),
    )
    assert weave("THE GIRL, the GIRL, miss Stone, the girl-child.", cast)[1] == ("Mara",)  # by "miss Stone"
    assert weave("The girls sleep.", cast)[1] == ()


def test_the_longest_name_wins() -> None:
    for cast in ([MARA, STONE], [STONE, MARA]):
        assert weave("Mara Stone sees Mara.", cast) == (
            "Mara Stone, a grey old sailor, sees Mara, a girl with a red coat.",
            ("Mara Stone", "Mara"),
        )


def test_a_shorter_name_is_found_where_the_longer_one_is_no_word() -> None:
    assert weave("Mara Stones", [MARA, STONE])[1] == ("Mara",)


@pytest.mark.parametrize(
    ("name", "prompt", "named"),
    [
        ("李明", "清晨李明走进房间", True),
        ("さくら", "朝、さくらが笑う", True),
        ("민수", "민수는 달린다", True),
        ("Zoë", "Zoë laughs", True),
        ("Zoë", "Zoe\N{COMBINING DIAERESIS} laughs", True),  # the same name, typed in two code points
        ("Zoe", "Zoe\N{COMBINING DIAERESIS} laughs", False),
        ("Анна", "Анна идёт", True),
        ("Анна", "Аннабель идёт", False),
        ("R2-D2", "R2-D2 beeps", True),
        ("Mr. Fox", "Mr. Fox's den", True),
        ("C++", "C++ and more", True),
        ("Ann", "Ann\N{EM DASH}at last", True),
        ("Marie", "Anne-Marie waits", False),
    ],
)
def test_whole_words_in_many_scripts(name: str, prompt: str, named: bool) -> None:
    woven, names = weave(prompt, [Character(name, "somebody")])
    assert names == ((name,) if named else ())
    assert (", somebody" in woven or " (somebody)" in woven) is named


@pytest.mark.parametrize("name", ["李明", "さくら", "민수"])
def test_names_in_scripts_without_blanks_have_the_description_in_brackets(name: str) -> None:
    assert weave(name, [Character(name, "somebody")])[0] == f"{name} (somebody)"


def test_a_description_of_sentences_stands_in_brackets() -> None:
    cast = [Character("Mara", "A girl. She wears a red coat.")]
    assert weave("Mara runs.", cast)[0] == "Mara (A girl. She wears a red coat) runs."


def test_descriptions_are_not_searched_for_names() -> None:
    cast = [Character("Mara", "the sister of Tom"), TOM]
    assert weave("Mara runs", cast) == ("Mara, the sister of Tom, runs", ("Mara",))


def test_without_a_description_the_prompt_stays_but_the_name_counts() -> None:
    assert weave("Mara runs", [Character("Mara")]) == ("Mara runs", ("Mara",))


def test_describe_false_leaves_the_prompt() -> None:
    assert weave("Mara and Tom", [MARA, TOM], describe=False) == ("Mara and Tom", ("Mara", "Tom"))


@given(st.text(alphabet="Mara Tom.,'s-李明\n", max_size=40))
def test_weaving_only_ever_adds_the_descriptions(prompt: str) -> None:
    cast = [MARA, TOM, Character("李明", "一个男孩"), Character("Mar", "x")]
    woven, names = weave(prompt, cast)
    stripped = woven
    for character in cast:
        if character.name in names:
            told = re.escape(character.description.rstrip("."))
            stripped = re.sub(rf" \({told}\)|, {told},(?=\s+\w)|, {told}", "", stripped, count=1)
    assert stripped == prompt
    assert set(names) <= {character.name for character in cast if character.name in prompt}
