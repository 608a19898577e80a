"""Names and configurations: from the original Wan2.2 layout to diffusers' classes.

Each `*_names` function maps diffusers' parameter names to those in the file; each `*_config` function reads a model's
configuration off the shapes of its tensors (under diffusers' names), because most files come without one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from storymem.errors import CheckpointError, ModelError
from storymem.models.weights import TensorInfo

__all__ = [
    "text_encoder_config",
    "text_encoder_names",
    "transformer_config",
    "transformer_module",
    "transformer_names",
    "vae_config",
    "vae_names",
]

Infos = Mapping[str, TensorInfo]

# How ComfyUI, training frameworks and data-parallel wrappers prefix the names of one and the same transformer.
_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "transformer.", "module.", "model.")


def _without_prefix(keys: Iterable[str], marker: str) -> dict[str, str]:
    """Name without prefix → name, where the prefix is the one in front of the parameter `marker`."""
    names = list(keys)
    prefix = next((p for p in _PREFIXES if p + marker in names), "")
    return {name.removeprefix(prefix): name for name in names}


def transformer_names(keys: Iterable[str]) -> dict[str, str]:
    """Map diffusers' names of `WanTransformer3DModel` to the names in a file.

    Args:
        keys: names in the file: the original ones, with or without ComfyUI's prefix, or diffusers'.
    """
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    bare = _without_prefix(keys, "patch_embedding.weight")
    if any(name.startswith("condition_embedder.") for name in bare):
        return bare
    # diffusers' converter only moves values from key to key, so it can move names as well as tensors.
    renamed: dict[str, str] = convert_wan_transformer_to_diffusers(dict(bare))
    return renamed


def transformer_module(name: str) -> str:
    """diffusers' name of one module of the original transformer: ``blocks.0.self_attn.q`` → ``blocks.0.attn1.to_q``."""
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    (renamed,) = convert_wan_transformer_to_diffusers({f"{name}.": None})
    return str(renamed).removesuffix(".")


def _shape(infos: Infos, name: str, path: Path, what: str) -> tuple[int, ...]:
    if name not in infos:
        some = ", ".join(list(infos)[:3])
        raise CheckpointError(f"{path}: this is no {what}: it has no {name} (its first keys are {some}).")
    return infos[name].shape


def transformer_config(
    infos: Infos,
    path: Path,
    *,
    config: Mapping[str, Any] | None = None,
    num_heads: int | None = None,
    channels_per_head: int = 128,
) -> dict[str, Any]:
    """Arguments of `WanTransformer3DModel` for a file.

    Args:
        infos: shapes under diffusers' names.
        path: the file, for messages.
        config: the original ``config.json`` (``dim``, ``num_heads``, ...), if there is one.
        num_heads: attention heads; the one number that no shape tells.
        channels_per_head: says it where neither `num_heads` nor `config` does.

    Raises:
        CheckpointError: the file is no Wan transformer, or contradicts its ``config.json``.
    """
    what = "Wan transformer"
    config = config or {}
    patch = _shape(infos, "patch_embedding.weight", path, what)
    if len(patch) != 5:
        raise CheckpointError(
            f"{path}: patch_embedding.weight has shape {list(patch)}; it should have five dimensions."
        )
    dim, in_channels, *patch_size = patch
    ffn_dim = _shape(infos, "blocks.0.ffn.net.0.proj.weight", path, what)[0]
    text_dim = _shape(infos, "condition_embedder.text_embedder.linear_1.weight", path, what)[1]
    freq_dim = _shape(infos, "condition_embedder.time_embedder.linear_1.weight", path, what)[1]
    out_channels = _shape(infos, "proj_out.weight", path, what)[0] // prod(patch_size)
    layers = {int(match[1]) for name in infos if (match := re.match(r"blocks\.(\d+)\.", name))}
    image = infos.get("condition_embedder.image_embedder.ff.net.0.proj.weight")
    positions = infos.get("condition_embedder.image_embedder.pos_embed")
    inferred = {"dim": dim, "in_dim": in_channels, "out_dim": out_channels, "ffn_dim": ffn_dim, "freq_dim": freq_dim}
    inferred |= {"num_layers": max(layers) + 1, "text_dim": text_dim}
    for name, value in inferred.items():
        if name in config and config[name] != value:
            raise CheckpointError(f"{path}: its {name} is {value}, but config.json says {config[name]}.")
    heads = num_heads or config.get("num_heads")
    if heads is None:
        if dim % channels_per_head:
            raise ModelError(
                f"{path}: has {dim} channels and no config.json, so the number of attention heads is unknown; "
                "lay it over the folder of such a model, or say it with num_heads."
            )
        heads = dim // channels_per_head
    if not isinstance(heads, int) or heads < 1 or dim % heads:
        raise CheckpointError(f"{path}: {dim} channels cannot be shared out among {heads!r} attention heads.")
    return {
        "patch_size": tuple(patch_size),
        "num_attention_heads": heads,
        "attention_head_dim": dim // heads,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "text_dim": text_dim,
        "freq_dim": freq_dim,
        "ffn_dim": ffn_dim,
        "num_layers": max(layers) + 1,
        "cross_attn_norm": "blocks.0.norm2.weight" in infos,
        "eps": config.get("eps", 1e-6),
        "image_dim": image.shape[1] if image else None,
        "added_kv_proj_dim": dim if "blocks.0.attn2.add_k_proj.weight" in infos else None,
        "pos_embed_seq_len": positions.shape[1] if positions else None,
    }


def vae_names(keys: Iterable[str]) -> dict[str, str]:
    """Map diffusers' names of `AutoencoderKLWan` to the names in a file (the original ones, or diffusers')."""
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    bare = _without_prefix(keys, "decoder.conv1.weight")
    if "decoder.conv_in.weight" in bare:
        return bare
    renamed: dict[str, str] = convert_wan_vae_to_diffusers(dict(bare))
    return renamed


def vae_config(infos: Infos, path: Path) -> dict[str, Any]:
    """Arguments of `AutoencoderKLWan` for the Wan2.1 VAE, whatever its width; the latent mean and std are Wan's.

    Raises:
        CheckpointError: the file is no such VAE.
    """
    what = "Wan2.1 VAE"
    if any(name.startswith("encoder.downsamples.") or ".downsamples." in name for name in infos):
        raise CheckpointError(f"{path}: this is a Wan2.2 VAE (of TI2V-5B); the 14B models use Wan2.1_VAE.pth.")
    base = _shape(infos, "encoder.conv_in.weight", path, what)[0]
    z_dim = _shape(infos, "post_quant_conv.weight", path, what)[0]
    # Stages of two residual blocks with a resampler between them: blocks 1, 4, 7 and 10 end a stage.
    ends = [_shape(infos, f"encoder.down_blocks.{i}.conv2.weight", path, what)[0] for i in (1, 4, 7, 10)]
    return {
        "base_dim": base,
        "decoder_base_dim": _shape(infos, "decoder.norm_out.gamma", path, what)[0],
        "z_dim": z_dim,
        "dim_mult": [end // base for end in ends],
        "temperal_downsample": [f"encoder.down_blocks.{i}.time_conv.weight" in infos for i in (2, 5, 8)],
    }


_T5_LAYER = {
    "norm1": "layer.0.layer_norm",
    "attn.q": "layer.0.SelfAttention.q",
    "attn.k": "layer.0.SelfAttention.k",
    "attn.v": "layer.0.SelfAttention.v",
    "attn.o": "layer.0.SelfAttention.o",
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}
_T5_TOP = {"token_embedding.weight": "shared.weight", "norm.weight": "encoder.final_layer_norm.weight"}


def text_encoder_names(keys: Iterable[str]) -> dict[str, str]:
    """Map transformers' names of `UMT5EncoderModel` to the names in a file (original, or transformers')."""
    names: dict[str, str] = {}
    for key in keys:
        if key == "spiece_model":  # ComfyUI packs the tokenizer's model into the file
            continue
        new = _T5_TOP.get(key, key)
        match = re.match(r"blocks\.(\d+)\.(.+)\.weight$", key)
        if match and match[2] in _T5_LAYER:
            new = f"encoder.block.{match[1]}.{_T5_LAYER[match[2]]}.weight"
        names[new] = key
    if "shared.weight" in names:  # one tensor under two names
        names.setdefault("encoder.embed_tokens.weight", names["shared.weight"])
    elif "encoder.embed_tokens.weight" in names:
        names["shared.weight"] = names["encoder.embed_tokens.weight"]
    return names


def text_encoder_config(infos: Infos, path: Path) -> dict[str, Any]:
    """Arguments of `UMT5Config` for a file; relative positions as in every UMT5: up to a distance of 128.

    Raises:
        CheckpointError: the file is no UMT5 encoder.
    """
    what = "UMT5 encoder"
    vocab_size, d_model = _shape(infos, "shared.weight", path, what)
    attention = "encoder.block.0.layer.0.SelfAttention"
    buckets, num_heads = _shape(infos, f"{attention}.relative_attention_bias.weight", path, what)
    layers = {int(match[1]) for name in infos if (match := re.match(r"encoder\.block\.(\d+)\.", name))}
    return {
        "vocab_size": vocab_size,
        "d_model": d_model,
        "d_kv": _shape(infos, f"{attention}.q.weight", path, what)[0] // num_heads,
        "d_ff": _shape(infos, "encoder.block.0.layer.1.DenseReluDense.wi_0.weight", path, what)[0],
        "num_layers": max(layers) + 1,
        "num_heads": num_heads,
        "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": 128,
        "feed_forward_proj": "gated-gelu",
        "is_encoder_decoder": False,
        "use_cache": False,
    }
