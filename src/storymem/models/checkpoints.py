"""Loading a model's components from disk, whatever the format, with every key accounted for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from storymem.errors import CheckpointError, ModelError
from storymem.models.build import fill, make_empty
from storymem.models.convert import (
    text_encoder_config,
    text_encoder_names,
    transformer_config,
    transformer_names,
    vae_config,
    vae_names,
)
from storymem.models.layouts import ComponentFiles, ModelFiles, find_model
from storymem.models.weights import RenamedSource, WeightSource, open_weights

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

__all__ = ["Components", "load_components", "load_tokenizer", "prepare"]

# Wan2.2's own values: the image-to-video model switches experts at 900 of 1000, the text-to-video model at 875.
_BOUNDARY = {36: 0.9, 16: 0.875}


@dataclass(frozen=True, slots=True)
class Components:
    """A model in memory; what was not asked for is None.

    Attributes:
        transformer: the expert of high noise (timesteps at or above ``boundary_ratio * 1000``).
        transformer_2: the expert of low noise; None also for a model with one expert.
        vae: video autoencoder.
        text_encoder: UMT5 encoder.
        tokenizer: its tokenizer.
        boundary_ratio: where the experts change; None for a model with one expert.
        files: component name → the files that were read.
    """

    transformer: WanTransformer3DModel | None = None
    transformer_2: WanTransformer3DModel | None = None
    vae: AutoencoderKLWan | None = None
    text_encoder: UMT5EncoderModel | None = None
    tokenizer: PreTrainedTokenizerBase | None = None
    boundary_ratio: float | None = None
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)


def load_components(
    folder: str | Path | None = None,
    *,
    transformer: str | Path | None = None,
    transformer_2: str | Path | None = None,
    vae: str | Path | None = None,
    text_encoder: str | Path | None = None,
    tokenizer: str | Path | None = None,
    dtype: torch.dtype | None = None,
    vae_dtype: torch.dtype | None = torch.float32,
    device: torch.device | str = "cpu",
    only: Collection[str] | None = None,
    num_heads: int | None = None,
    quantized: bool = True,
) -> Components:
    """Load a model.

    Args:
        folder: an original Wan2.2 folder or a diffusers folder; may be left out if every part is named by itself.
        transformer: a file (`.safetensors` as ComfyUI ships it, `.gguf`) or folder instead of the folder's high-noise
            expert.
        transformer_2: the same for the low-noise expert.
        vae: the same for the VAE.
        text_encoder: the same for the text encoder.
        tokenizer: a folder instead of the folder's tokenizer.
        dtype: type of the transformers' and the text encoder's weights; None keeps the files'. What diffusers keeps in
            float32 (norms, modulation, time embedding) stays so.
        vae_dtype: type of the VAE; Wan's runs in float32.
        device: where the weights go.
        only: component names (see `storymem.models.layouts.COMPONENTS`); None loads all.
        num_heads: attention heads of a single-file transformer; None: as many channels to a head as in the expert of
            `folder` that it takes the place of, or 128.
        quantized: leave the weights of a GGUF transformer quantized in memory (LoRAs then go beside them as adapters);
            False expands them while loading.

    Raises:
        ModelError: a part is missing, or the folder is of no known layout.
        CheckpointError: a file is damaged, or has a key or shape that does not fit; names the file and the key.
    """
    given = {"transformer": transformer, "transformer_2": transformer_2, "vae": vae}
    given |= {"text_encoder": text_encoder, "tokenizer": tokenizer}
    model = find_model(
        None if folder is None else Path(folder),
        files={name: Path(path) for name, path in given.items() if path is not None},
        only=only,
    )
    loaded: dict[str, Any] = {}
    files: dict[str, tuple[Path, ...]] = {}
    for name, part in model.parts.items():
        if name == "tokenizer":
            loaded[name] = load_tokenizer(part.path)
            files[name] = tuple(sorted(path for path in part.path.iterdir() if path.is_file()))
            continue
        module, source = prepare(name, part, num_heads=num_heads)
        kind = vae_dtype if name == "vae" else dtype
        loaded[name] = fill(
            module, source, dtype=kind, device=device, keep_in_fp32=_kept_in_fp32(name, kind), quantized=quantized
        )
        files[name] = source.files
    return Components(**loaded, boundary_ratio=_boundary_ratio(model, loaded), files=files)


def _boundary_ratio(model: ModelFiles, loaded: Mapping[str, Any]) -> float | None:
    if model.boundary_ratio is not None:
        return model.boundary_ratio
    experts = [loaded[name] for name in ("transformer", "transformer_2") if name in loaded]
    if model.layout == "diffusers" or not experts or (len(experts) == 1 and "transformer_2" not in model.parts):
        return None
    return _BOUNDARY.get(experts[0].config.in_channels)


def prepare(name: str, part: ComponentFiles, *, num_heads: int | None = None) -> tuple[torch.nn.Module, RenamedSource]:
    """Build one component empty and open its weights, under the names the component has for them.

    Args:
        name: `transformer`, `transformer_2`, `vae` or `text_encoder`.
        part: where it lies.
        num_heads: see `load_components`.

    Raises:
        ModelError: there are no weights where they should be.
        CheckpointError: the weights are damaged, or not those of such a component.
    """
    source = open_weights(part.path)
    if name == "vae":
        return _prepare_vae(part, source)
    if name == "text_encoder":
        return _prepare_text_encoder(part, source)
    return _prepare_transformer(part, source, num_heads)


def _prepare_transformer(
    part: ComponentFiles, source: WeightSource, num_heads: int | None
) -> tuple[torch.nn.Module, RenamedSource]:
    from diffusers import WanTransformer3DModel

    renamed = RenamedSource(source, transformer_names(source.infos))
    if part.style == "diffusers":
        return _from_config(WanTransformer3DModel, part), renamed
    config = transformer_config(
        renamed.infos,
        source.path,
        config=part.config,
        num_heads=num_heads,
        channels_per_head=part.channels_per_head,
    )
    return make_empty(lambda: WanTransformer3DModel(**config)), renamed


def _prepare_vae(part: ComponentFiles, source: WeightSource) -> tuple[torch.nn.Module, RenamedSource]:
    from diffusers import AutoencoderKLWan

    renamed = RenamedSource(source, vae_names(source.infos))
    if part.style == "diffusers":
        return _from_config(AutoencoderKLWan, part), renamed
    config = vae_config(renamed.infos, source.path)
    return make_empty(lambda: AutoencoderKLWan(**config)), renamed


def _prepare_text_encoder(part: ComponentFiles, source: WeightSource) -> tuple[torch.nn.Module, RenamedSource]:
    from transformers import UMT5Config, UMT5EncoderModel

    renamed = RenamedSource(source, text_encoder_names(source.infos))
    if part.style == "diffusers":
        _refuse_quantized(part)
        return _by_config(part, lambda: UMT5EncoderModel(UMT5Config.from_dict(dict(part.config)))), renamed
    config = UMT5Config(**text_encoder_config(renamed.infos, source.path))
    return make_empty(lambda: UMT5EncoderModel(config)), renamed


def _kept_in_fp32(name: str, dtype: torch.dtype | None) -> tuple[str, ...]:
    """Modules of a component that diffusers and transformers themselves keep in float32."""
    if name in ("transformer", "transformer_2"):
        from diffusers import WanTransformer3DModel

        return tuple(WanTransformer3DModel._keep_in_fp32_modules or ())
    # The last linear of UMT5's feed-forward can leave the range of float16.
    return ("wo",) if name == "text_encoder" and dtype == torch.float16 else ()


def _from_config(cls: Any, part: ComponentFiles) -> torch.nn.Module:
    _refuse_quantized(part)
    if part.config.get("_class_name") not in (None, cls.__name__):
        raise CheckpointError(
            f"{part.path}: config.json is of a {part.config['_class_name']}, not of a {cls.__name__}."
        )
    return _by_config(part, lambda: cls.from_config(dict(part.config)))


def _by_config(part: ComponentFiles, build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    """Build an empty module by the sizes in a config.json, which anybody may have written."""
    from huggingface_hub.errors import StrictDataclassError

    # What the libraries' constructors do with wrong values is not theirs to promise; a bug of ours would show in all.
    stumbles = (ArithmeticError, AssertionError, AttributeError, LookupError, NameError, RuntimeError, TypeError)
    try:
        return make_empty(build)
    except (*stumbles, ValueError, StrictDataclassError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise CheckpointError(
            f"{part.path}: nothing can be built by the sizes in its config.json ({reason[0]}): download it again."
        ) from error


def _refuse_quantized(part: ComponentFiles) -> None:
    if "quantization_config" in part.config:
        method = part.config["quantization_config"].get("quant_method", "unknown")
        raise CheckpointError(
            f"{part.path}: its weights are quantized ({method}); of quantized files .gguf and fp8 are read."
        )


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer in a folder.

    Raises:
        ModelError: there is none.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        return tokenizer
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(
            f"{folder}: no tokenizer can be loaded from it ({error}); download the folder again."
        ) from error
