"""Where the parts of a model lie on disk: recognising a folder, before anything in it is opened.

Three ways to say what a model is:

- an **original Wan2.2 folder**: ``high_noise_model/``, ``low_noise_model/``, ``Wan2.1_VAE.pth``,
  ``models_t5_umt5-xxl-enc-bf16.pth`` and ``google/umt5-xxl/``;
- a **diffusers folder**: ``model_index.json`` and a subfolder per component;
- **single files** for the transformers (ComfyUI, GGUF), laid over either of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from storymem.errors import CheckpointError, ModelError

__all__ = [
    "COMPONENTS",
    "ComponentFiles",
    "Expert",
    "ModelFiles",
    "find_lora",
    "find_model",
    "read_json",
    "weights_in",
]

Expert = Literal["high", "low"]

COMPONENTS = ("transformer", "transformer_2", "vae", "text_encoder", "tokenizer")
"""Names of a model's components, as diffusers has them: `transformer` is the high-noise expert."""

_VAE_FILES = ("Wan2.1_VAE.safetensors", "Wan2.1_VAE.pth")
_TEXT_ENCODER_FILES = ("models_t5_umt5-xxl-enc-bf16.safetensors", "models_t5_umt5-xxl-enc-bf16.pth")
_TOKENIZER_FOLDERS = ("google/umt5-xxl",)
_LORA_TYPES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True, slots=True)
class ComponentFiles:
    """One component on disk.

    Attributes:
        path: a file of weights, or a folder that holds them (for the tokenizer: its folder).
        style: ``original``: the configuration is read off the weights; ``diffusers``: it is in ``config.json``.
        config: the ``config.json`` beside the weights, in its own vocabulary; empty if there is none.
        channels_per_head: of an expert that says it in no ``config.json``; as in the expert that it takes the place of,
            or 128, as in every Wan model that was published.
    """

    path: Path
    style: Literal["original", "diffusers"]
    config: Mapping[str, Any] = field(default_factory=dict)
    channels_per_head: int = 128


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on disk.

    Attributes:
        layout: ``original``, ``diffusers`` or ``files`` (no folder, single files only).
        parts: component name → its files; a component the model does not have is left out.
        boundary_ratio: from ``model_index.json``, if that says so.
    """

    layout: Literal["original", "diffusers", "files"]
    parts: Mapping[str, ComponentFiles]
    boundary_ratio: float | None = None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        CheckpointError: the file cannot be read or holds something else.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error}); download it again.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: holds a {type(value).__name__}, not an object; download it again.")
    return value


def find_model(
    folder: Path | None, *, files: Mapping[str, Path] | None = None, only: Collection[str] | None = None
) -> ModelFiles:
    """Recognise a model and find its parts.

    Args:
        folder: an original or a diffusers folder; None when `files` names every part.
        files: component name → a file (or folder) that takes the place of the folder's.
        only: the components that are needed; None means all. A missing one that is not needed is no error.

    Raises:
        ModelError: the folder is of no known layout, or a part of it is missing; says what was looked for.
    """
    files = dict(files or {})
    for name in (*files, *(only or ())):
        if name not in COMPONENTS:
            raise ModelError(f"There is no component {name!r}; a model has {', '.join(COMPONENTS)}.")
    wanted = [name for name in COMPONENTS if only is None or name in only]
    replaced: dict[str, ComponentFiles] = {}
    for name, path in files.items():
        if not path.exists():
            raise ModelError(f"{path}: there is no such file (asked for as {name}).")
        replaced[name] = _given(path)
    # The second expert is the one part that not every model has.
    expected = set(COMPONENTS) - {"transformer_2"}
    if folder is None:
        found = ModelFiles("files", {})
        looked = "no folder was given"
    elif not folder.is_dir():
        raise ModelError(f"{folder}: there is no such folder; `storymem models list` shows what has a name.")
    elif (folder / "model_index.json").is_file():
        found, named = _diffusers(folder)
        expected |= named
        looked = "model_index.json does not name it, or its folder is missing"
    else:
        found = _original(folder)
        if any((folder / name).is_dir() for name in ("high_noise_model", "low_noise_model")):
            expected.add("transformer_2")
        looked = _looked_for(folder)
    for name, part in replaced.items():
        heads = _channels_per_head(found.parts[name].config) if name in found.parts else None
        if heads is not None and not part.config:
            replaced[name] = replace(part, channels_per_head=heads)
    parts = {**found.parts, **replaced}
    missing = [name for name in wanted if name in expected and name not in parts]
    if missing:
        place = f"{folder}: " if folder else ""
        raise ModelError(f"{place}the model's {', '.join(missing)} cannot be found; {looked}.")
    return ModelFiles(found.layout, {n: parts[n] for n in wanted if n in parts}, found.boundary_ratio)


def _given(path: Path) -> ComponentFiles:
    """A part that was named by its path: its config.json counts if it lies in the folder that was named."""
    config_path = path / "config.json"
    if not path.is_dir() or not config_path.is_file():
        return ComponentFiles(path, "original")
    config = read_json(config_path)
    original = config.get("_class_name") == "WanModel"
    return ComponentFiles(path, "original" if original else "diffusers", config)


def _channels_per_head(config: Mapping[str, Any]) -> int | None:
    """Of an expert, from either kind of ``config.json``; None if it does not say (or is of another component)."""
    if isinstance(config.get("attention_head_dim"), int):
        return int(config["attention_head_dim"])
    channels, heads = config.get("dim"), config.get("num_heads")
    if isinstance(channels, int) and isinstance(heads, int) and heads > 0 and channels % heads == 0:
        return channels // heads
    return None


def _original(folder: Path) -> ModelFiles:
    parts: dict[str, ComponentFiles] = {}
    for name, subfolder in (("transformer", "high_noise_model"), ("transformer_2", "low_noise_model")):
        if (folder / subfolder).is_dir():
            parts[name] = _given(folder / subfolder)
    if not parts and (folder / "config.json").is_file():  # Wan2.1: one expert, beside everything else
        parts["transformer"] = _given(folder)
    for name, candidates in (
        ("vae", _VAE_FILES),
        ("text_encoder", _TEXT_ENCODER_FILES),
        ("tokenizer", _TOKENIZER_FOLDERS),
    ):
        path = next((folder / candidate for candidate in candidates if (folder / candidate).exists()), None)
        if path is not None:
            parts[name] = ComponentFiles(path, "original")
    return ModelFiles("original", parts)


def _looked_for(folder: Path) -> str:
    there = sorted(entry.name for entry in folder.iterdir())[:8]
    return (
        "looked for a diffusers folder (model_index.json) and for the original layout (high_noise_model/, "
        "low_noise_model/, Wan2.1_VAE.pth, models_t5_umt5-xxl-enc-bf16.pth, each also as .safetensors, and "
        f"google/umt5-xxl/), and found {', '.join(there) or 'nothing'}"
    )


def _diffusers(folder: Path) -> tuple[ModelFiles, set[str]]:
    """The parts of a diffusers folder, and the names of those that its index says there are."""
    index = read_json(folder / "model_index.json")
    parts: dict[str, ComponentFiles] = {}
    named = {name for name in COMPONENTS if isinstance(index.get(name), list) and index[name][:1] != [None]}
    for name in (name for name in COMPONENTS if name in named):
        place = folder / name
        if name == "tokenizer" and place.is_dir():
            parts[name] = ComponentFiles(place, "diffusers")
        elif (place / "config.json").is_file():
            parts[name] = ComponentFiles(place, "diffusers", read_json(place / "config.json"))
        elif place.is_dir():
            raise ModelError(f"{place / 'config.json'}: missing; download the model again.")
    ratio = index.get("boundary_ratio")
    return ModelFiles("diffusers", parts, float(ratio) if isinstance(ratio, int | float) else None), named


def weights_in(path: Path) -> tuple[Path, ...]:
    """The files of the weights at `path`: itself, or the one set in a folder; an index comes before its shards.

    Raises:
        ModelError: the folder has no weights.
        CheckpointError: the index of shards is damaged, or names a shard that is elsewhere or missing.
    """
    if path.is_dir():
        path = _one_in(path)
    if not path.name.endswith(".safetensors.index.json"):
        return (path,)
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict):
        raise CheckpointError(f"{path}: is no index of shards, for it has no weight_map; download it again.")
    shards = []
    for name in sorted({str(file) for file in weight_map.values()}):
        if Path(name).name != name:
            raise CheckpointError(f"{path}: names the shard {name!r}; shards must lie beside the index.")
        if not (path.parent / name).is_file():
            raise CheckpointError(
                f"{path.parent / name}: this shard is missing, though {path.name} names it; download it."
            )
        shards.append(path.parent / name)
    return (path, *shards)


def _one_in(folder: Path) -> Path:
    """The file in `folder` that stands for its weights; an index before a single file, safetensors before `.bin`."""
    for suffix in (".safetensors.index.json", ".safetensors", ".bin"):
        for stem in ("diffusion_pytorch_model", "model", "pytorch_model"):
            if (folder / (stem + suffix)).is_file():
                return folder / (stem + suffix)
    raise ModelError(
        f"{folder}: no weights there; looked for diffusion_pytorch_model.safetensors or model.safetensors, "
        "or shards of them with an .index.json."
    )


def find_lora(path: Path, expert: Expert | None = None) -> dict[Literal["high", "low", "both"], Path]:
    """The files of a LoRA: ``high`` and ``low`` from a folder, or one file, for ``both`` if nothing says otherwise.

    Args:
        path: a folder with a file per expert, or a file.
        expert: which expert a single file is for; None: what its name says (a word ``high`` or ``low``).

    Raises:
        ModelError: there is no such file, or the folder does not have one file for each expert.
    """
    if path.is_dir():
        if expert is not None:
            raise ModelError(f"{path}: is a folder, for both experts; name one of its files for one expert alone.")
        alone = _lora_for_both(path)
        return {"both": alone} if alone else {"high": _lora_for(path, "high"), "low": _lora_for(path, "low")}
    if not path.is_file():
        raise ModelError(f"{path}: there is no such LoRA; give a folder or a .safetensors or .pth file.")
    return {expert or _expert_in(path.name) or "both": path}


def _expert_in(name: str) -> Expert | None:
    words = set(re.split(r"[^a-z]+", name.lower()))
    high, low = (bool(words & {word, f"{word}noise"}) for word in ("high", "low"))
    return None if high == low else "high" if high else "low"


def _lora_for_both(folder: Path) -> Path | None:
    """The only LoRA in a folder, if its name speaks of no expert: it was trained on a model that has but one."""
    files = [f for f in folder.iterdir() if f.is_file() and f.suffix in _LORA_TYPES]
    return files[0] if len(files) == 1 and _expert_in(files[0].name) is None else None


def _lora_for(folder: Path, expert: Expert) -> Path:
    files = sorted(f for f in folder.iterdir() if f.is_file() and f.suffix in _LORA_TYPES)
    fitting = [file for file in files if _expert_in(file.name) == expert]
    # The same weights as .safetensors and as .pth are no contradiction; the safe format is taken.
    best = [file for file in fitting if file.suffix == ".safetensors"] or fitting
    if len(best) == 1:
        return best[0]
    if best:
        names = ", ".join(file.name for file in best)
        raise ModelError(f"{folder}: {names} could each be for the {expert}-noise expert; name one file or keep one.")
    inside = [entry.name for entry in sorted(folder.iterdir()) if entry.is_dir()]
    hint = f"; perhaps one of its folders is meant: {', '.join(inside)}" if inside else ""
    raise ModelError(
        f"{folder}: no LoRA for the {expert}-noise expert; looked for backbone_{expert}_noise.safetensors or .pth, or "
        f"one file with {expert!r} in its name{hint}."
    )
