"""Reading LoRA files: every spelling of the keys in use for Wan, to one form under diffusers' module names."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from storymem.errors import CheckpointError
from storymem.models.convert import transformer_module
from storymem.models.layouts import Expert, find_lora
from storymem.models.weights import WeightSource, open_weights

__all__ = ["Expert", "Lora", "LoraLayer", "LoraPair", "load_lora"]

_SUFFIXES = {
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_A.default.weight": "down",
    ".lora_B.default.weight": "up",
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".alpha": "alpha",
    ".diff": "diff",
    ".diff_b": "diff_b",
    ".diff_m": "diff_m",
}
_METHOD_PREFIX = "base_model.model."
# In this order: the longer of two that begin alike comes first.
_PREFIXES = ("model.diffusion_model.", "diffusion_model.", _METHOD_PREFIX, "transformer_2.", "transformer.", "unet.")
_DIFFUSERS_NAMES = (".attn1.", ".attn2.", ".ffn.net.", "condition_embedder.", "proj_out.")
_KOHYA = re.compile(r"lora_unet__?blocks_(\d+)_(self_attn|cross_attn|ffn)_(q|k|v|o|k_img|v_img|0|2)$")


@dataclass(frozen=True, slots=True, eq=False)
class LoraLayer:
    """The low-rank change of one linear layer: ``weight += scale * up @ down``.

    Attributes:
        down: ``[rank, in]`` (lora_A).
        up: ``[out, rank]`` (lora_B).
        alpha: its alpha.
        key: the key of `down` in the file, for messages.
    """

    down: torch.Tensor
    up: torch.Tensor
    alpha: float
    key: str

    @property
    def rank(self) -> int:
        """Rank, from the shape."""
        return int(self.down.shape[0])


@dataclass(frozen=True, slots=True, eq=False)
class Lora:
    """The change of one expert.

    Attributes:
        path: the file.
        layers: diffusers' module name → its low-rank change.
        deltas: diffusers' parameter name → a full difference to add (``.diff`` of norms, ``.diff_b`` of biases).
        keys: parameter name of a delta → the key in the file, for messages.
        rslora: whether the scale is ``alpha / sqrt(rank)`` (rank-stabilised, arXiv 2312.03732) or ``alpha / rank``.
    """

    path: Path
    layers: Mapping[str, LoraLayer]
    deltas: Mapping[str, torch.Tensor]
    keys: Mapping[str, str]
    rslora: bool

    def scale(self, module: str) -> float:
        """What ``up @ down`` of `module` is multiplied with at weight 1."""
        layer = self.layers[module]
        return layer.alpha / (math.sqrt(layer.rank) if self.rslora else layer.rank)


@dataclass(frozen=True, slots=True, eq=False)
class LoraPair:
    """A LoRA for both experts; None where a file for one expert was given.

    Attributes:
        high: for `transformer`.
        low: for `transformer_2`.
    """

    high: Lora | None
    low: Lora | None


def load_lora(
    path: str | Path, *, expert: Expert | None = None, alpha: float | None = None, rslora: bool | None = None
) -> LoraPair:
    """Read a LoRA from a folder with a file per expert, or from one file.

    A file whose name says neither ``high`` nor ``low`` serves both experts, unless `expert` says otherwise.

    Args:
        path: a folder, such as the method's ``Wan2.2-MI2V-A14B``, or a `.safetensors` or `.pth` file.
        expert: which expert a single file is for.
        alpha: alpha of every layer; None takes the file's (``.alpha`` keys, the metadata of diffusers or the
            ``adapter_config.json`` of PEFT) or else the rank, which is right for the method's files.
        rslora: whether the scale is ``alpha / sqrt(rank)``; None takes the file's word (metadata or
            ``adapter_config.json``), or else decides by the names: the method's files (``base_model.model.``) are
            rank-stabilised, all others are not.

    Raises:
        ModelError: there is no such file, or the folder does not have one file for each expert.
        CheckpointError: a file has keys that belong to no LoRA of a Wan transformer; names them.
    """
    found = find_lora(Path(path), expert)
    if "high" in found and "low" in found:
        high, low = (_read(open_weights(found[name]), alpha=alpha, rslora=rslora) for name in ("high", "low"))
        return LoraPair(_single(high), _single(low))
    ((role, file),) = found.items()
    loras = _read(open_weights(file), alpha=alpha, rslora=rslora)
    if "both" not in loras:  # diffusers' way: both experts in one file, told apart by a prefix
        return LoraPair(loras.get("high"), loras.get("low"))
    return LoraPair(None if role == "low" else loras["both"], None if role == "high" else loras["both"])


def _single(loras: dict[str, Lora]) -> Lora:
    """The one LoRA of a file that belongs to one expert."""
    if "both" not in loras:
        path = next(iter(loras.values())).path
        raise CheckpointError(
            f"{path}: has keys of both experts (transformer. and transformer_2.); name this file alone."
        )
    return loras["both"]


def _read(source: WeightSource, *, alpha: float | None, rslora: bool | None) -> dict[str, Lora]:
    """The LoRAs in a file: ``both``, or ``high`` and ``low`` if the keys tell the experts apart."""
    if not source.infos:
        raise CheckpointError(f"{source.path}: holds no tensors.")
    told_apart = any(key.startswith("transformer_2.") for key in source.infos)
    groups: dict[str, list[str]] = {}
    for key in source.infos:
        group = ("low" if key.startswith("transformer_2.") else "high") if told_apart else "both"
        groups.setdefault(group, []).append(key)
    stabilised = all(key.startswith(_METHOD_PREFIX) for key in source.infos)
    loras = {}
    for group, keys in groups.items():
        settings = _settings(source, "transformer_2." if group == "low" else "transformer.")
        said = settings.get("use_rslora", stabilised) if rslora is None else rslora
        loras[group] = _collect(
            source, keys, force_alpha=alpha, default_alpha=settings.get("lora_alpha"), rslora=bool(said)
        )
    return loras


def _settings(source: WeightSource, prefix: str) -> dict[str, Any]:
    """``lora_alpha`` and ``use_rslora`` as PEFT or diffusers noted them, if they did.

    Args:
        source: the file of the LoRA.
        prefix: what diffusers writes before the settings of one expert.
    """
    note = source.path.parent / "adapter_config.json"
    try:
        if note.is_file():
            found = {"use_rslora": False, **json.loads(note.read_text(encoding="utf-8"))}  # PEFT's default
        else:
            found = json.loads(source.metadata.get("lora_adapter_metadata", "{}"))
        found = {str(name).removeprefix(prefix): value for name, value in found.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise CheckpointError(f"{source.path}: the settings noted with it are not readable ({error}).") from error
    if found.get("alpha_pattern"):
        raise CheckpointError(f"{source.path}: notes alpha_pattern, an alpha per layer, which is not read.")
    alpha = found.get("lora_alpha")
    if alpha is not None and (
        isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha)
    ):
        raise CheckpointError(f"{source.path}: the settings noted with it have the lora_alpha {alpha!r}: not a number.")
    return {name: found[name] for name in ("lora_alpha", "use_rslora") if found.get(name) is not None}


def _split(key: str) -> tuple[str, str] | None:
    """(module name in the file's vocabulary, what the tensor is), or None for a key of no known form."""
    end = next((suffix for suffix in _SUFFIXES if key.endswith(suffix)), None)
    if end is None:
        return None
    bare = key.removesuffix(end)
    prefix = next((p for p in _PREFIXES if bare.startswith(p)), "")
    bare = bare.removeprefix(prefix)
    kohya = _KOHYA.match(bare)
    if kohya:
        bare = f"blocks.{kohya[1]}.{kohya[2]}.{kohya[3]}"
    kind = _SUFFIXES[end]
    if kind == "diff_m":  # LightX2V's way to write the difference of a modulation
        return f"{bare}.modulation", "diff"
    return bare, kind


def _collect(
    source: WeightSource, keys: Iterable[str], *, force_alpha: float | None, default_alpha: float | None, rslora: bool
) -> Lora:
    parts: dict[str, dict[str, str]] = {}
    strange = []
    diffusers_names = any(mark in key for key in keys for mark in _DIFFUSERS_NAMES)
    for key in keys:
        split = _split(key)
        if split is None:
            strange.append(key)
            continue
        module = split[0] if diffusers_names else transformer_module(split[0])
        if split[1] in parts.setdefault(module, {}):
            raise CheckpointError(f"{source.path}: {key} and {parts[module][split[1]]} are the same tensor twice.")
        parts[module][split[1]] = key
    if strange:
        more = f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        raise CheckpointError(
            f"{source.path}: {', '.join(strange[:3])}{more} fit no LoRA of a Wan transformer; nothing was applied. "
            "Known are lora_A/lora_B or lora_down/lora_up weights, alpha, diff, diff_b and diff_m."
        )
    layers: dict[str, LoraLayer] = {}
    deltas: dict[str, torch.Tensor] = {}
    origins: dict[str, str] = {}
    for module, part in parts.items():
        # The modulation is a parameter itself, everything else has one called weight.
        weight = module if module.endswith("scale_shift_table") else f"{module}.weight"
        for kind, name in (("diff", weight), ("diff_b", f"{module}.bias")):
            if kind in part:
                deltas[name] = source.read(part[kind])
                origins[name] = part[kind]
        if "down" in part or "up" in part or "alpha" in part:
            layers[module] = _layer(source, part, force_alpha, default_alpha)
    return Lora(source.path, layers, deltas, origins, rslora)


def _layer(
    source: WeightSource, part: Mapping[str, str], force_alpha: float | None, default_alpha: float | None
) -> LoraLayer:
    if "down" not in part or "up" not in part:
        known = next(iter(part.values()))
        lacking = "lora_A (lora_down)" if "down" not in part else "lora_B (lora_up)"
        raise CheckpointError(f"{source.path}: {known} has no {lacking} beside it; the file is incomplete.")
    down, up = source.read(part["down"]), source.read(part["up"])
    if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
        raise CheckpointError(
            f"{source.path}: {part['down']} {list(down.shape)} and {part['up']} {list(up.shape)} cannot be multiplied."
        )
    if not down.shape[0]:
        raise CheckpointError(f"{source.path}: {part['down']} is of rank 0; the file is damaged: download it again.")
    alpha = force_alpha
    if alpha is None:
        alpha = _alpha(source, part["alpha"]) if "alpha" in part else default_alpha
    if alpha is None:
        alpha = float(down.shape[0])
    return LoraLayer(down, up, float(alpha), part["down"])


def _alpha(source: WeightSource, key: str) -> float:
    value = source.read(key)
    if value.numel() != 1 or not math.isfinite(float(value)):
        raise CheckpointError(f"{source.path}: {key} is no single number; the file is damaged: download it again.")
    return float(value)
