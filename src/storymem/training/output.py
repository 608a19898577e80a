"""What a run leaves behind: folders that the pipeline, `storymem generate` and diffusers read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file

from storymem.errors import SettingsError
from storymem.film.storage import publish_folder, rename, temporary_folder, write_file
from storymem.models.own_sampling import SAMPLING_FILE, read_sampling, sampling_json
from storymem.training.checkpoint import full_tensor, remove_folder, storing_weights
from storymem.training.networks import ADAPTER, LORA_TARGETS

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

    from storymem.training.network_sections import LoraSection

__all__ = [
    "lora_tensors",
    "original_module",
    "refuse_unlike_lora",
    "replacing_folder",
    "save_lora",
    "save_model",
    "save_vae",
]

_ADAPTER_CONFIG = "adapter_config.json"
_LORA_NAMES = {"high": "backbone_high_noise", "low": "backbone_low_noise", "model": "backbone"}
_OTHER = {"high": "low", "low": "high"}
# What the two experts' files share, as one note tells of both. Dropout is not among them: it is for training alone.
_SHARED_KEYS = ("r", "lora_alpha", "use_rslora", "target_modules")
_ORIGINAL = {
    "attn1": "self_attn",
    "attn2": "cross_attn",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "o",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
}


def original_module(name: str) -> str:
    """The original name of one of a LoRA's targets: ``blocks.0.attn1.to_q`` → ``blocks.0.self_attn.q``."""
    _, number, rest = name.split(".", 2)
    for ours, theirs in _ORIGINAL.items():
        rest = rest.replace(ours, theirs)
    return f"blocks.{number}.{rest}"


def lora_tensors(transformer: WanTransformer3DModel, dtype: torch.dtype | None = None) -> dict[str, torch.Tensor]:
    """The LoRA of a transformer under the method's keys (``base_model.model.blocks.0.self_attn.q.lora_A.weight``).

    They are copies. Every process must ask if the model is sharded.
    """
    tensors = {}
    for name, parameter in transformer.named_parameters():
        for part in ("lora_A", "lora_B"):
            mark = f".{part}.{ADAPTER}.weight"
            if name.endswith(mark):
                module = original_module(name.removesuffix(mark))
                whole = full_tensor(parameter).clone()  # the parameter goes on changing
                tensors[f"base_model.model.{module}.{part}.weight"] = whole if dtype is None else whole.to(dtype)
    return tensors


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A new folder to fill, which then takes the place of `folder`; until then the old one stays.

    Raises:
        StorageError: the disk refused it.
    """
    old = _settle(folder)
    with storing_weights(folder), temporary_folder(folder.parent, folder.name) as temporary:
        yield temporary
        if old.exists():
            remove_folder(old)
        if folder.exists():
            rename(folder, old)
        publish_folder(temporary, folder)
    if old.exists():
        remove_folder(old)


def _settle(folder: Path) -> Path:
    """Where the folder waits while it is replaced; put back if a kill came between."""
    old = folder.with_name(f".old-{folder.name}")
    if old.exists() and not folder.exists():
        rename(old, folder)
    return old


def save_lora(
    folder: Path,
    parts: Mapping[str, Mapping[str, torch.Tensor]],
    config: LoraSection,
    sampling: Mapping[str, Any] | None = None,
) -> None:
    """Write LoRAs as the method's: ``backbone_{high,low}_noise.safetensors``; of one expert ``backbone.safetensors``.

    PEFT's ``adapter_config.json`` beside them tells rank, alpha and rsLoRA; `storymem.models.lora.load_lora` reads it.

    Args:
        folder: for the files; what was there is replaced, but for the LoRA of the other expert, which stays.
        parts: ``high``, ``low`` or ``model`` → tensors from `lora_tensors`.
        config: rank, alpha and scaling.
        sampling: fields of `SamplingConfig` that go with it, which `resolve_model` lays over the model's.

    Raises:
        SettingsError: the LoRA of the other expert there is of another rank, alpha or scaling; nothing is changed.
        StorageError: the disk refused it; the same.
    """
    expert = next(iter(parts)) if len(parts) == 1 else ""
    if expert in _OTHER:
        refuse_unlike_lora(folder, expert, config, sampling)
    with replacing_folder(folder) as temporary:
        for part, tensors in parts.items():
            save_file(dict(tensors), temporary / f"{_LORA_NAMES[part]}.safetensors", {"format": "pt"})
        write_file(temporary / _ADAPTER_CONFIG, json.dumps(_note(config), indent=2).encode())
        if sampling is not None:
            write_file(temporary / SAMPLING_FILE, sampling_json(sampling))
        if expert in _OTHER:
            kept = folder / f"{_LORA_NAMES[_OTHER[expert]]}.safetensors"
            if kept.is_file():
                shutil.copyfile(kept, temporary / kept.name)


def refuse_unlike_lora(
    folder: Path, expert: str, config: LoraSection, sampling: Mapping[str, Any] | None = None
) -> None:
    """See that the LoRA of one expert can stand beside that of the other one, of which one note is to tell.

    Args:
        folder: for the LoRA; there may be nothing.
        expert: ``high`` or ``low``, which is to be trained.
        config: its rank, alpha and scaling.
        sampling: fields of `SamplingConfig` that go with it.

    Raises:
        SettingsError: the other one's is there, and is of another rank, alpha or scaling, or nothing tells of what, or
            it is to be sampled otherwise.
    """
    other = _OTHER[expert]
    _settle(folder)
    if not (folder / f"{_LORA_NAMES[other]}.safetensors").is_file():
        return
    path = folder / _ADAPTER_CONFIG
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        before = {key: told.get(key) for key in _SHARED_KEYS}
    except (OSError, ValueError, AttributeError) as error:
        raise SettingsError(
            f"{path}: cannot be read ({error}), and tells what the LoRA of the {other} expert beside it is: put it "
            "back, or choose another output folder."
        ) from error
    now = _note(config)
    unlike = [f"{key} {before[key]!r} and not {now[key]!r}" for key in _SHARED_KEYS if before[key] != now[key]]
    if unlike:
        raise SettingsError(
            f"{folder}: the LoRA of the {other} expert there has {', '.join(unlike)}, so that of the {expert} expert "
            "cannot stand beside it: set `lora` as it was, or choose another output folder."
        )
    said, asked = read_sampling(folder), dict(sampling or {})
    if said and said != asked:
        names = sorted(name for name in said.keys() | asked.keys() if said.get(name) != asked.get(name))
        raise SettingsError(
            f"{folder}: the LoRA of the {other} expert there is sampled with other {', '.join(names)} (sampling.json) "
            f"than that of the {expert} expert would be: train both alike, or choose another output folder."
        )


def _note(config: LoraSection) -> dict[str, Any]:
    """What PEFT writes beside a LoRA."""
    return {
        "peft_type": "LORA",
        "r": config.rank,
        "lora_alpha": config.rank if config.alpha is None else config.alpha,
        "use_rslora": config.rslora,
        "lora_dropout": config.dropout,
        "bias": "none",
        "target_modules": sorted({original_module(f"blocks.0.{target}")[9:] for target in LORA_TARGETS}),
    }


def save_vae(folder: Path, vae: AutoencoderKLWan) -> None:
    """Write a VAE as diffusers does."""
    with replacing_folder(folder) as temporary:
        vae.save_pretrained(temporary)


def save_model(
    folder: Path,
    *,
    transformer: WanTransformer3DModel,
    transformer_2: WanTransformer3DModel | None,
    vae: AutoencoderKLWan,
    text_encoder: UMT5EncoderModel,
    tokenizer: PreTrainedTokenizerBase,
    boundary_ratio: float | None,
    sampling: Mapping[str, Any] | None = None,
) -> None:
    """Write a whole model as a diffusers folder that `WanImageToVideoPipeline` and ours read.

    `sampling` are fields of `SamplingConfig`, which `resolve_model` finds in the folder; None: it says nothing of them.
    """
    from diffusers import UniPCMultistepScheduler, WanImageToVideoPipeline

    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)
    parts: dict[str, Any] = {"transformer": transformer, "transformer_2": transformer_2, "vae": vae}
    parts |= {"text_encoder": text_encoder, "tokenizer": tokenizer, "scheduler": scheduler}
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:  # it keeps the padding of its last call, which is no part of the model
        backend.no_padding()
        backend.no_truncation()
    pipe = WanImageToVideoPipeline(**parts, boundary_ratio=boundary_ratio)
    with replacing_folder(folder) as temporary:
        pipe.save_pretrained(temporary)
        if sampling is not None:
            write_file(temporary / SAMPLING_FILE, sampling_json(sampling))
