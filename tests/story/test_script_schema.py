"""The published schema and the loader agree: what the schema refuses does not load, what loads is valid."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from storymem.errors import ScriptError
from storymem.story import ScriptForm, parse_story
from storymem.story.jsontext import read_json5
from storymem.story.schema import json_schema
from storymem.story.template import new_script
from storymem.story.yamltext import read_yaml

ROOT = Path(__file__).parents[2]
ST_BENCH = ROOT.parent / "shared" / "st_bench"
SCENE = {"scene_num": 1, "video_prompts": ["a", "b"], "first_frame_prompt": ["c", "d"], "cut": [True, "False"]}
STBENCH = {"story_name": "x", "story_overview": "y", "scenes": [SCENE]}
FILM = {"title": "x", "shots": ["a"]}


def is_valid(form: ScriptForm, data: object) -> bool:
    return bool(Draft202012Validator(json_schema(form)).is_valid(data))


def loads(form: ScriptForm, data: object) -> bool:
    try:
        parse_story(json.dumps(data), "script", ROOT, form)
    except ScriptError:
        return False
    return True


@pytest.mark.parametrize("form", ["yaml", "st-bench"])
def test_the_schema_is_a_schema_with_words_for_people(form: ScriptForm) -> None:
    schema = json_schema(form)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "null" not in json.dumps(schema)

    def described(node: Any) -> None:
        for field in node.get("properties", {}).values():
            assert field["description"][-1] == "."
        for part in [*node.get("$defs", {}).values(), *node.get("anyOf", [])]:
            described(part)

    described(schema)


@pytest.mark.parametrize("form", ["yaml", "st-bench"])
def test_the_examples_in_the_schema_are_valid(form: ScriptForm) -> None:
    schema = json_schema(form)

    def check(node: Any) -> None:
        if isinstance(node, dict):
            if "examples" in node and isinstance(node["examples"], list):
                validator = Draft202012Validator({**node, "$defs": schema["$defs"]})
                for example in node["examples"]:
                    validator.validate(example)
            for inner in node.values():
                check(inner)
        elif isinstance(node, list):
            for inner in node:
                check(inner)

    check(schema)


def test_good_scripts_are_valid() -> None:
    for path in (ROOT / "examples").glob("*.yaml"):
        assert is_valid("yaml", read_yaml(path.read_text(encoding="utf-8")).plain()), path
    for path in [*(ROOT / "tests" / "data" / "scripts").glob("*.json*"), *ST_BENCH.glob("*.json")]:
        assert is_valid("st-bench", read_json5(path.read_text(encoding="utf-8")).plain()), path
    assert is_valid("yaml", read_yaml(new_script("x")).plain())
    assert is_valid("st-bench", read_json5(new_script("x", "st-bench")).plain())


@pytest.mark.parametrize(
    "change",
    [
        {"title": 3},
        {"title": " "},
        {"title": None},
        {"overview": None},
        {"subtitle": "y"},
        {"shots": []},
        {"shots": "a"},
        {"shots": [1]},
        {"shots": [""]},
        {"shots": [{}]},
        {"shots": [{"prompt": "a", "sed": 1}]},
        {"shots": [{"prompt": "a", "seed": -1}]},
        {"shots": [{"prompt": "a", "seed": "1"}]},
        {"shots": [{"prompt": "a", "cut": "maybe"}]},
        {"shots": [{"prompt": "a", "cut": 1}]},
        {"shots": [{"prompt": "a", "id": "A b"}]},
        {"shots": [{"prompt": "a", "duration": 0}]},
        {"shots": [{"prompt": "a", "duration": "3m"}]},
        {"shots": [{"prompt": "a", "num_frames": 0}]},
        {"shots": [{"prompt": "a", "forget": "yes"}]},
        {"scenes": [{"shots": ["a"]}]},
        {"cast": ["Mara"]},
        {"cast": {"Mara": 3}},
        {"cast": {"Mara": None}},
        {"cast": {"": "a girl"}},
        {"cast": {" Mara": "a girl"}},
        {"cast": {"Mara": {"description": ""}}},
        {"cast": {"Mara": {"references": [3]}}},
        {"defaults": {"width": 100}},
        {"defaults": {"fps": 0}},
        {"defaults": {"solver": "magic"}},
        {"defaults": {"guidance_scale": 0}},
        {"defaults": {"memory": {"capacity": -1}}},
        {"defaults": {"memory": {"similarity_threshold": 1.5}}},
        {"defaults": []},
    ],
)
def test_what_the_schema_refuses_does_not_load(change: dict[str, Any]) -> None:
    assert is_valid("yaml", FILM)
    assert loads("yaml", FILM)
    assert not is_valid("yaml", FILM | change)
    assert not loads("yaml", FILM | change)


@pytest.mark.parametrize(
    "change",
    [
        {"story_name": ""},
        {"story_overview": 3},
        {"story_title": "x"},
        {"scenes": []},
        {"scenes": [3]},
        {"scenes": [SCENE | {"scene_num": 0}]},
        {"scenes": [SCENE | {"scene_num": "1"}]},
        {"scenes": [SCENE | {"video_prompts": []}]},
        {"scenes": [SCENE | {"video_prompts": ["a", " "]}]},
        {"scenes": [SCENE | {"cut": [True, "perhaps"]}]},
        {"scenes": [SCENE | {"cut": True}]},
        {"scenes": [SCENE | {"cut": None}]},
        {"scenes": [SCENE | {"first_frame_prompt": ["a", 3]}]},
        {"scenes": [SCENE | {"more": 1}]},
    ],
)
def test_what_the_schema_of_st_bench_refuses_does_not_load(change: dict[str, Any]) -> None:
    assert is_valid("st-bench", STBENCH)
    assert loads("st-bench", STBENCH)
    assert not is_valid("st-bench", STBENCH | change)
    assert not loads("st-bench", STBENCH | change)


@pytest.mark.parametrize(
    "change",
    [
        {"overview": ""},
        {"cast": {}},
        {"cast": {"Mara": "a girl", "Old Tom": {}, "李": {"description": "x"}}},
        {
            "shots": [
                "a",
                {"prompt": "b", "cut": "No"},
                {"prompt": "c", "cut": "TRUE", "duration": "2.5s", "id": "c_1-x"},
            ]
        },
        {"shots": [{"prompt": "a", "negative_prompt": "", "seed": 2**63 - 1, "num_frames": 9997}]},
        {"defaults": {"shift": 3, "guidance_scale": 1, "memory": {"capacity": 0, "sink": 0}, "duration": 0.1}},
    ],
)
def test_what_loads_is_valid(change: dict[str, Any]) -> None:
    assert loads("yaml", FILM | change)
    assert is_valid("yaml", FILM | change)
