"""What docs/scripts.md says is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from storymem.errors import ScriptError
from storymem.story import parse_story
from storymem.story.cast import weave
from storymem.story.entries import CharacterEntry, DefaultsEntry, FilmScript, MemoryEntry, SceneEntry, ShotEntry
from storymem.story.stbench import StBenchScene, StBenchStory
from storymem.story.template import new_script
from storymem.worlds.storyland import strange_words

DOCS = (Path(__file__).parents[2] / "docs" / "scripts.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", DOCS, re.DOTALL)


def test_the_films_in_it_load() -> None:
    film, wrong = (text for language, text in BLOCKS if language == "yaml" and "\nshots:" in text)
    story = parse_story(film, "film.yaml", None)
    assert [shot.cut for shot in story.shots] == [True, False]
    assert not strange_words(shot.prompt for shot in story.shots)  # it is the first that people try
    (stbench,) = (text for language, text in BLOCKS if language == "json5")
    assert [shot.cut for shot in parse_story(stbench, "kite.json", None).shots] == [True, False]
    with pytest.raises(ScriptError) as caught:
        parse_story(wrong, "film.yaml", None)
    assert f"$ storymem script check film.yaml\n{caught.value}\n" in DOCS


def test_the_weaving_in_it_is_so() -> None:
    cast = next(text for language, text in BLOCKS if text.startswith("cast:"))
    before_after = re.findall(r"^> (.*?) → (.*)$", DOCS, re.MULTILINE)
    assert len(before_after) == 3
    mara = cast.split("  Old Tom")[0]
    for before, after in before_after:
        (shot,) = parse_story(f"title: x\n{mara}shots:\n- {before}", "film.yaml", None).shots
        assert shot.full_prompt == after


@pytest.mark.parametrize(
    "form",
    [FilmScript, SceneEntry, ShotEntry, CharacterEntry, DefaultsEntry, MemoryEntry, StBenchStory, StBenchScene],
)
def test_every_field_is_explained(form: type[FilmScript]) -> None:
    assert [name for name in form.model_fields if f"`{name}`" not in DOCS] == []


def test_the_weaving_in_the_script_to_start_from_is_so() -> None:
    text = new_script("T")
    ((prompt, woven),) = re.findall(r'^# "(.+?)" becomes "(.+?)"\.$', text, re.MULTILINE)
    assert weave(prompt, parse_story(text, "script", None).cast)[0] == woven
