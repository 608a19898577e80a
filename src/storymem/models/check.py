"""Checking a model on disk without loading it: every file there, every header whole, every key and shape fitting."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from storymem.errors import InputError, ModelError
from storymem.models.build import check_fit
from storymem.models.checkpoints import load_tokenizer, prepare
from storymem.models.layouts import COMPONENTS, ComponentFiles, ModelFiles, find_lora, find_model, weights_in
from storymem.models.lora import check_lora_fit, load_lora
from storymem.models.weights import open_weights

__all__ = ["CheckRow", "check_files", "check_lora", "check_model", "check_part", "looks_like_lora"]


@dataclass(frozen=True, slots=True)
class CheckRow:
    """What was found about one part.

    Attributes:
        part: component name, or ``lora high`` and the like.
        path: where it lies.
        size: bytes of its files.
        problem: what is wrong, and what to do about it; empty if nothing is.
        detail: what it is, if nothing is wrong.
    """

    part: str
    path: Path
    size: int
    problem: str = ""
    detail: str = ""


def looks_like_lora(path: Path) -> bool:
    """Whether a file or folder is a LoRA rather than a model or a part of one.

    Raises:
        ModelError: a file cannot be read.
    """
    if path.is_dir():
        if _is_model(path):
            return False
        try:
            find_lora(path)
        except ModelError:
            return False
        return True
    return any(".lora_" in name for name in open_weights(path).infos)


def _is_model(folder: Path) -> bool:
    if (folder / "model_index.json").is_file() or (folder / "config.json").is_file():
        return True
    return any((folder / name).is_dir() for name in ("high_noise_model", "low_noise_model"))


def check_model(folder: Path | None, *, files: Mapping[str, Path] | None = None) -> list[CheckRow]:
    """Check every part of a model, reading headers only.

    Args:
        folder: an original or a diffusers folder; None when `files` names every part.
        files: component name → a file that takes the place of the folder's.

    Returns:
        one row per component; a part that is missing has one too.

    Raises:
        ModelError: it is no model at all.
    """
    rows: list[CheckRow] = []
    parts: dict[str, ModelFiles] = {}
    missing: list[CheckRow] = []
    for name in COMPONENTS:
        try:
            parts[name] = find_model(folder, files=files, only={name})
        except ModelError as error:
            missing.append(CheckRow(name, folder or Path(), 0, problem=str(error)))
    if not any(found.parts for found in parts.values()):
        raise ModelError(missing[0].problem)
    for name in COMPONENTS:
        found = parts[name].parts.get(name) if name in parts else None
        if found is None:
            continue
        rows.append(_check_component(name, found))
    order = {name: position for position, name in enumerate(COMPONENTS)}
    return sorted([*rows, *missing], key=lambda row: order[row.part])


def _check_component(name: str, found: ComponentFiles) -> CheckRow:
    try:
        if name == "tokenizer":
            size = sum(path.stat().st_size for path in found.path.iterdir() if path.is_file())
            return CheckRow(name, found.path, size, detail=f"{len(load_tokenizer(found.path))} tokens")
        module, source = prepare(name, found)
        check_fit({key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}, source.infos, source)
    except InputError as error:
        return CheckRow(name, found.path, 0, problem=str(error))
    # Counted in the file, where a tensor that the model has under two names is one.
    count = sum(prod(source.infos[key].shape) for key in {old: key for key, old in source.original.items()}.values())
    kinds = sorted({info.dtype.removeprefix("torch.") for info in source.infos.values()})
    size = sum(path.stat().st_size for path in source.files)
    return CheckRow(name, found.path, size, detail=f"{_in_words(count)} parameters, {', '.join(kinds)}")


def _in_words(count: int) -> str:
    return f"{count / 1e9:.2f} billion" if count >= 1e8 else f"{count / 1e6:.2f} million"


def check_lora(path: Path, *, model: Path | None = None) -> list[CheckRow]:
    """Check a LoRA: its keys are known and, if a model is named, every one has a place there.

    Args:
        path: a folder with a file per expert, or one file.
        model: folder of the model that it is to go on.

    Raises:
        ModelError: there is no such LoRA.
    """
    rows = []
    for role, file in find_lora(path).items():
        size = file.stat().st_size
        try:
            pair = load_lora(file)
            for name, lora in (("transformer", pair.high), ("transformer_2", pair.low)):
                if lora is None or model is None:
                    continue
                part = find_model(model, only={name}).parts.get(name)
                if part is not None:
                    check_lora_fit(prepare(name, part)[0], lora)
            lora = pair.high or pair.low
            assert lora is not None
            ranks = sorted({layer.rank for layer in lora.layers.values()})
            scale = "alpha / sqrt(rank)" if lora.rslora else "alpha / rank"
            more = f", {len(lora.deltas)} full differences" if lora.deltas else ""
            detail = f"{len(lora.layers)} layers, rank {', '.join(map(str, ranks))}, scale {scale}{more}"
            rows.append(CheckRow(f"lora {role}", file, size, detail=detail))
        except InputError as error:
            rows.append(CheckRow(f"lora {role}", file, size, problem=str(error)))
    return rows


def check_part(file: Path) -> list[CheckRow]:
    """Check a single file of a model: a transformer, a VAE or a text encoder, whichever it is by its keys.

    Raises:
        ModelError: it is none of them.
    """
    names = set(open_weights(file).infos)
    if any(name.endswith("patch_embedding.weight") for name in names):
        part = "transformer"
    elif names & {"shared.weight", "token_embedding.weight"}:
        part = "text_encoder"
    elif any(name.endswith(("decoder.conv1.weight", "decoder.conv_in.weight")) for name in names):
        part = "vae"
    else:
        some = ", ".join(sorted(names)[:3])
        raise ModelError(f"{file}: is no part of a Wan model that is known here; its keys begin with {some}.")
    return [_check_component(part, ComponentFiles(file, "original"))]


def check_files(folder: Path) -> list[CheckRow]:
    """Check that the weights in a folder can be opened; for models that other libraries load (encoders, scorers).

    Raises:
        ModelError: there are no weights.
    """
    files = sorted(path for path in folder.glob("*.safetensors"))
    if not files:
        files = [weights_in(folder)[0]]
    rows = []
    for file in files:
        try:
            source = open_weights(file)
            rows.append(CheckRow("weights", file, file.stat().st_size, detail=f"{len(source.infos)} tensors"))
        except InputError as error:
            rows.append(CheckRow("weights", file, file.stat().st_size, problem=str(error)))
    return rows
