"""The public names are pinned: taking one away, or adding one, is a decision."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import storymem

PINNED = [
    "Director",
    "Film",
    "FilmSettings",
    "Keyframe",
    "LoraChoice",
    "MemoryBank",
    "MemoryConfig",
    "MemoryPolicy",
    "ModelChoice",
    "PipelineShotMaker",
    "Runtime",
    "SamplingConfig",
    "ShotCondition",
    "ShotMaker",
    "ShotRequest",
    "Story",
    "StoryMemError",
    "StoryMemPipeline",
    "StoryMemPipelineOutput",
    "Tools",
    "add_adapter",
    "export_film",
    "load_components",
    "load_encoder",
    "load_lora",
    "load_scorer",
    "load_story",
    "merge_lora",
    "parse_story",
    "select_keyframes",
]


def test_the_names_are_these() -> None:
    assert sorted(storymem.__all__) == sorted(PINNED)


@pytest.mark.parametrize("name", PINNED)
def test_every_name_is_there_and_documented(name: str) -> None:
    assert (getattr(storymem, name).__doc__ or "").strip()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        storymem.magic  # noqa: B018


def test_everything_that_a_module_calls_public_has_a_docstring() -> None:
    source = Path(storymem.__file__).parent
    bare = []
    for file in source.rglob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for node in tree.body:
            named = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
            if named and not ast.get_docstring(node):
                bare.append(f"{file.relative_to(source)}: {node.name}")
    assert not bare
