"""Weights of the catalogue that are named by their folder: known by what they are, so that they are sampled alike."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from storymem.errors import ModelError
from storymem.models.catalog import CATALOG, ModelEntry
from storymem.models.layouts import find_model

__all__ = ["known_lora", "known_model"]

_EXPERTS = ("transformer", "transformer_2")
_A14B = (36, 5120, 40)  # input channels, width and blocks of Wan2.2-I2V-A14B


def known_model(folder: Path) -> ModelEntry | None:
    """The entry of Wan2.2-I2V-A14B, if the folder has two experts of its sizes, which nothing else has; else None."""
    try:
        parts = find_model(folder, only=_EXPERTS).parts
    except ModelError:
        return None  # whoever loads it says what is wrong
    if all(name in parts and _sizes(parts[name].config) == _A14B for name in _EXPERTS):
        return CATALOG["wan2.2-i2v-a14b"]
    return None


def known_lora(path: Path) -> ModelEntry | None:
    """The entry of a LoRA in a folder that is called as it is where it was published; else None."""
    name = path.resolve().name
    return next((item for item in CATALOG.values() if item.kind == "lora" and item.subfolder == name), None)


def _sizes(config: Mapping[str, Any]) -> tuple[object, object, object]:
    """Input channels, width and blocks by a transformer's ``config.json``, in the original words or in diffusers'."""
    heads, channels = config.get("num_attention_heads"), config.get("attention_head_dim")
    width = heads * channels if isinstance(heads, int) and isinstance(channels, int) else config.get("dim")
    return config.get("in_channels", config.get("in_dim")), width, config.get("num_layers")
