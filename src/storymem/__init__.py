"""Films of many shots, made by AI, in which everything stays itself.

The public names are those of `__all__`. They are imported on first use, so that ``import storymem`` stays light: torch
comes with the first name that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from storymem.conditioning.condition import ShotCondition
    from storymem.errors import StoryMemError
    from storymem.film.director import Director
    from storymem.film.export import export_film
    from storymem.film.film_settings import FilmSettings
    from storymem.film.maker import ShotMaker, ShotRequest
    from storymem.film.pipeline_maker import LoraChoice, ModelChoice, PipelineShotMaker, Runtime
    from storymem.film.project import Film
    from storymem.film.tools import Tools
    from storymem.memory.bank import Keyframe, MemoryBank, MemoryPolicy
    from storymem.memory.encoders import load_encoder, load_scorer
    from storymem.memory.selection import select_keyframes
    from storymem.models.checkpoints import load_components
    from storymem.models.lora import add_adapter, load_lora, merge_lora
    from storymem.pipeline import StoryMemPipeline, StoryMemPipelineOutput
    from storymem.settings import MemoryConfig, SamplingConfig
    from storymem.story import Story, load_story, parse_story

_HOMES = {
    "Director": "film.director",
    "Film": "film.project",
    "FilmSettings": "film.film_settings",
    "Keyframe": "memory.bank",
    "LoraChoice": "film.pipeline_maker",
    "MemoryBank": "memory.bank",
    "MemoryConfig": "settings",
    "MemoryPolicy": "memory.bank",
    "ModelChoice": "film.pipeline_maker",
    "PipelineShotMaker": "film.pipeline_maker",
    "Runtime": "film.pipeline_maker",
    "SamplingConfig": "settings",
    "ShotCondition": "conditioning.condition",
    "ShotMaker": "film.maker",
    "ShotRequest": "film.maker",
    "Story": "story",
    "StoryMemError": "errors",
    "StoryMemPipeline": "pipeline",
    "StoryMemPipelineOutput": "pipeline",
    "Tools": "film.tools",
    "add_adapter": "models.lora",
    "export_film": "film.export",
    "load_components": "models.checkpoints",
    "load_encoder": "memory.encoders",
    "load_lora": "models.lora",
    "load_scorer": "memory.encoders",
    "load_story": "story",
    "merge_lora": "models.lora",
    "parse_story": "story",
    "select_keyframes": "memory.selection",
}

__all__ = [
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


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'storymem' has no attribute {name!r}")
    return getattr(import_module(f"storymem.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
