from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from storymem.errors import ScriptError
from storymem.story import Scene, Shot, Story, load_story, parse_story

SCRIPTS = Path(__file__).parents[1] / "data" / "scripts"
ST_BENCH = Path(__file__).parents[3] / "shared" / "st_bench"


def kite(**first_scene: Any) -> dict[str, Any]:
    script: dict[str, Any] = json.loads((SCRIPTS / "kite.json").read_text(encoding="utf-8"))
    script["scenes"][0] |= first_scene
    return script


def problems(script: object) -> list[str]:
    text = script if isinstance(script, str) else json.dumps(script, indent=1)
    with pytest.raises(ScriptError) as caught:
        parse_story(text, "kite.json", None)
    return caught.value.lines()


def test_a_script_becomes_a_story() -> None:
    path = SCRIPTS / "kite.json"
    hill = "A boy in a green jumper flies a yellow kite on a hill. Wide shot."
    slip = "The string slips from the boy\u2019s hand. Close-up, connected smoothly from previous frame."
    tree = "The yellow kite hangs in an apple tree. Medium shot."
    assert load_story(path) == Story(
        title="The Kite",
        overview="A boy loses his kite and finds it again.",
        scenes=(
            Scene(
                1,
                (
                    Shot("01-01", 0, 1, hill, hill, True, first_frame_prompt="Boy on a hill, yellow kite above."),
                    Shot("01-02", 1, 1, slip, slip, False, first_frame_prompt="Hand with a string."),
                ),
            ),
            Scene(2, (Shot("02-01", 2, 2, tree, tree, True, first_frame_prompt="Kite in a tree."),)),
        ),
        source=path,
    )


def test_comments_trailing_commas_and_quoted_cuts_change_nothing() -> None:
    plain, commented = load_story(SCRIPTS / "kite.json"), load_story(SCRIPTS / "kite_commented.json5")
    assert replace(commented, source=None) == replace(plain, source=None)


@pytest.mark.skipif(not ST_BENCH.is_dir(), reason="the ST-Bench files are not here")
def test_all_of_st_bench_loads() -> None:
    files = sorted(ST_BENCH.glob("*.json"))
    assert len(files) == 20
    for file in files:
        raw = json.loads(file.read_text(encoding="utf-8"))
        story = load_story(file)
        assert [shot.prompt for shot in story.shots] == [p.strip() for s in raw["scenes"] for p in s["video_prompts"]]
        assert [shot.cut for shot in story.shots] == [cut for s in raw["scenes"] for cut in s["cut"]]
        assert [shot.index for shot in story.shots] == list(range(len(story.shots)))


@pytest.mark.parametrize("word", ["True", "true", "TRUE", "tRuE", "yes", True])
def test_words_for_a_cut(word: object) -> None:
    assert parse_story(json.dumps(kite(cut=[word, word])), "x.json", None).shots[1].cut is True


@pytest.mark.parametrize("word", ["False", "false", "FALSE", " false ", "no", False])
def test_words_for_no_cut(word: object) -> None:
    assert parse_story(json.dumps(kite(cut=[True, word])), "x.json", None).shots[1].cut is False


@pytest.mark.parametrize("word", ["maybe", "", 0, 1, 1.0, [], {}])
def test_other_words_for_a_cut_are_mistakes(word: object) -> None:
    (line,) = problems(kite(cut=[True, word]))
    assert "scenes[0].cut[1]: found" in line
    assert "allowed: true (begins with a cut) or false (continues the shot before)" in line


def test_optional_lists_may_be_left_out() -> None:
    script = kite()
    for scene in script["scenes"]:
        del scene["first_frame_prompt"], scene["scene_num"]
    story = parse_story(json.dumps(script), "x.json", None)
    assert [shot.first_frame_prompt for shot in story.shots] == [None, None, None]


def test_lists_of_different_lengths() -> None:
    assert problems(kite(cut=[True], first_frame_prompt=["a", "b", "c"])) == [
        "kite.json:11: scenes[0].first_frame_prompt: has 3, but video_prompts has 2; write one value for each shot",
        "kite.json:16: scenes[0].cut: has 1, but video_prompts has 2; write one value for each shot",
    ]


def test_the_first_shot_must_be_a_cut() -> None:
    for word in (False, "False"):
        (line,) = problems(kite(cut=[word, True]))
        assert line == (
            "kite.json:16: scenes[0].cut[0]: found false; the first shot of a film has nothing to continue: write true"
        )


def test_every_mistake_is_told_with_its_line() -> None:
    text = """{
  // a comment
  "story_name": "  ",
  "story_overview": 7,
  "scene": [],
  "scenes": [
    {
      "scene_num": 4,
      "video_prompts": ["A boy.", ""],
      "cut": [true,
              null],
      "first_frame": []
    },
    5,
  ]
}"""
    assert problems(text) == [
        "kite.json:3: story_name: found an empty text; wanted: the title of the film",
        "kite.json:4: story_overview: found the number 7; a text is wanted: put it in quotes",
        "kite.json:5: scene: unknown field; did you mean scenes?",
        "kite.json:8: scenes[0].scene_num: found the number 4; this is scene 1",
        "kite.json:9: scenes[0].video_prompts[1]: found an empty text; wanted: one prompt per shot",
        "kite.json:11: scenes[0].cut[1]: found nothing; write a value, or leave the field out",
        "kite.json:12: scenes[0].first_frame: unknown field; did you mean first_frame_prompt?",
        "kite.json:14: scenes[1]: found the number 5; "
        "fields are wanted (scene_num, video_prompts, first_frame_prompt, cut)",
    ]


def test_our_own_form_in_a_json_file_is_one_mistake() -> None:
    (line,) = problems({"title": "x", "shots": ["a"]})
    assert "is YAML; give the file a name that ends in .yaml" in line


def test_empty_scenes() -> None:
    assert problems(kite() | {"scenes": []}) == [
        "kite.json:4: scenes: found an empty list; at least one entry is wanted"
    ]
