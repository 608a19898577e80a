"""The networks a run trains: new ones from a configuration, LoRAs on given ones, and what is put around them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from storymem.conditioning.rope import install_memory_rope, use_positions
from storymem.errors import MissingExtraError, SettingsError
from storymem.training.finer_pixels import refine_pixels
from storymem.training.finer_tokens import refine_tokens
from storymem.training.more_blocks import add_blocks
from storymem.training.sparse import forward_tokens
from storymem.training.text import Text, embed_tokens

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

    from storymem.models.lora_files import Lora
    from storymem.training.clauses import ClauseMarks
    from storymem.training.network_sections import LoraSection, TextEncoderSection, TransformerSection, VaeSection
    from storymem.training.recognition import Recogniser

__all__ = [
    "ADAPTER",
    "LORA_TARGETS",
    "Denoiser",
    "add_lora",
    "build_text_encoder",
    "build_transformer",
    "build_vae",
    "decay_groups",
    "dtype_of",
    "load_weights",
    "start_lora",
    "trainable_parameters",
]

ADAPTER = "memory"
"""Name of the adapter that is trained."""

LORA_TARGETS = (
    *(f"{attention}.{part}" for attention in ("attn1", "attn2") for part in ("to_q", "to_k", "to_v", "to_out.0")),
    "ffn.net.0.proj",
    "ffn.net.2",
)
"""The method's targets under diffusers' names: q, k, v, o of both attentions and both feed-forward linears."""


def load_weights(module: nn.Module, source: nn.Module, folder: Path) -> None:
    """Begin with the weights of a module of the same shape, or of one that can be made larger.

    That is a transformer with larger patches or fewer blocks, or a VAE that folds smaller blocks of pixels.

    Raises:
        SettingsError: it has another shape.
    """
    state = source.state_dict()
    if "patch_embedding.weight" in state:  # a transformer
        old, new = (cast(Any, some).config for some in (source, module))
        if tuple(old.patch_size) != tuple(new.patch_size):
            state = refine_tokens(state, old.patch_size, new.patch_size)
        if old.num_layers < new.num_layers:
            state = add_blocks(state, old.num_layers, new.num_layers)
    elif "encoder.conv_in.weight" in state:  # a VAE
        patch, finer = (int(cast(Any, some).config.patch_size or 1) for some in (source, module))
        if patch != finer:
            state = refine_pixels(state, patch, finer)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        some = str(error).split("\n")[1].strip() if "\n" in str(error) else str(error)
        raise SettingsError(
            f"start: the weights of {folder} do not fit the {type(module).__name__} of this configuration ({some}): "
            "give the sizes that it was trained with."
        ) from None


def dtype_of(name: str) -> torch.dtype:
    """``float32`` or ``bfloat16``, as settings say it."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def build_vae(config: VaeSection, z_mean: Sequence[float] = (), z_std: Sequence[float] = ()) -> AutoencoderKLWan:
    """A new AutoencoderKLWan; its latent statistics are 0 and 1 unless given."""
    from diffusers import AutoencoderKLWan

    patch = config.patch_size
    channels = 3 * patch**2
    return AutoencoderKLWan(
        base_dim=config.base_dim,
        decoder_base_dim=config.decoder_base_dim,
        z_dim=config.z_dim,
        dim_mult=list(config.dim_mult),
        num_res_blocks=config.num_res_blocks,
        temperal_downsample=list(config.temporal_downsample),
        latents_mean=list(z_mean) or [0.0] * config.z_dim,
        latents_std=list(z_std) or [1.0] * config.z_dim,
        in_channels=channels,
        out_channels=channels,
        patch_size=None if patch == 1 else patch,
        scale_factor_temporal=4,
        scale_factor_spatial=config.spatial_factor,
    )


def build_transformer(config: TransformerSection, z_dim: int, text_dim: int) -> WanTransformer3DModel:
    """A new transformer that takes a condition: ``2 z + 4`` channels in, z out. The last layer starts at zero."""
    from diffusers import WanTransformer3DModel

    transformer = WanTransformer3DModel(
        patch_size=config.patch_size,
        num_attention_heads=config.num_attention_heads,
        attention_head_dim=config.attention_head_dim,
        in_channels=2 * z_dim + 4,
        out_channels=z_dim,
        text_dim=text_dim,
        freq_dim=config.freq_dim,
        ffn_dim=config.ffn_dim,
        num_layers=config.num_layers,
        rope_max_seq_len=256,
    )
    # As DiT does (arXiv 2212.09748): the first answers are zero instead of noise.
    nn.init.zeros_(transformer.proj_out.weight)
    nn.init.zeros_(transformer.proj_out.bias)
    return transformer


def build_text_encoder(config: TextEncoderSection, tokenizer: PreTrainedTokenizerBase) -> UMT5EncoderModel:
    """A new UMT5 encoder for the tokenizer's vocabulary."""
    from transformers import UMT5Config, UMT5EncoderModel

    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=len(tokenizer),
            d_model=config.d_model,
            d_kv=config.d_kv,
            d_ff=config.d_ff,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
            is_encoder_decoder=False,
            use_cache=False,
            pad_token_id=0,
            eos_token_id=1,
        )
    )


def add_lora(transformer: WanTransformer3DModel, config: LoraSection) -> None:
    """Freeze a transformer and put a fresh LoRA on the method's targets: float32, starting at no change.

    Raises:
        MissingExtraError: PEFT is not installed.
    """
    try:
        from peft import LoraConfig
    except ImportError as error:
        raise MissingExtraError("peft", "train", "train a LoRA") from error
    transformer.requires_grad_(False)
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=cast(int, config.rank if config.alpha is None else config.alpha),
        use_rslora=config.rslora,
        lora_dropout=config.dropout,
        bias="none",
        target_modules=list(LORA_TARGETS),
        init_lora_weights=True,
    )
    transformer.add_adapter(lora, adapter_name=ADAPTER)
    for parameter in trainable_parameters(transformer).values():
        parameter.data = parameter.data.float()


def start_lora(transformer: WanTransformer3DModel, lora: Lora) -> None:
    """Let the LoRA that `add_lora` put on a transformer begin as another one.

    Raises:
        SettingsError: that one has another rank, other targets, or changes more than low ranks do.
    """
    own = {name: module for name, module in transformer.named_modules() if ADAPTER in getattr(module, "lora_A", {})}
    if lora.deltas or set(lora.layers) != set(own):
        raise SettingsError(f"lora.start: {lora.path} does not change the very layers that are trained here.")
    for name, layer in lora.layers.items():
        module = cast(Any, own[name])
        down, up = module.lora_A[ADAPTER].weight, module.lora_B[ADAPTER].weight
        if (down.shape, up.shape) != (layer.down.shape, layer.up.shape):
            raise SettingsError(
                f"lora.start: {lora.path} has rank {layer.rank} at {name}, of {layer.down.shape[1]} to "
                f"{layer.up.shape[0]} channels; here it is {down.shape[0]}, of {down.shape[1]} to {up.shape[0]}: set "
                "lora.rank to its rank, and model to what it was made for."
            )
        with torch.no_grad():  # the scales may differ
            down.copy_(layer.down)
            up.copy_(layer.up * (lora.scale(name) / module.scaling[ADAPTER]))


class Denoiser(nn.Module):
    """A transformer that is trained, with what is trained beside it (or None).

    That is the text encoder with its `ClauseMarks`, and a `Recogniser`.

    `forward` is one call of the transformer as the pipeline makes it, under the temporal positions of the condition.
    """

    def __init__(
        self,
        transformer: WanTransformer3DModel,
        text_encoder: UMT5EncoderModel | None = None,
        autocast: torch.dtype | None = None,
        recogniser: Recogniser | None = None,
        clauses: ClauseMarks | None = None,
    ) -> None:
        super().__init__()
        install_memory_rope(transformer)
        self.transformer = transformer
        self.text_encoder = text_encoder
        self.recogniser = recogniser
        self.clauses = clauses
        self.autocast_dtype = autocast

    def forward(
        self,
        hidden_states: torch.Tensor,
        timestep: torch.Tensor,
        text: Text,
        positions: tuple[int, ...],
        kept: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """The velocity ``[B, z, M + F_lat, h, w]``, what the recogniser says of the tokens, and the error of clauses.

        The last two are None where nothing is trained for them.

        With `kept` the velocity of those tokens alone, ``[B, K, p_t * p_h * p_w * z]``.

        Args:
            hidden_states: ``[B, 2 z + 4, M + F_lat, h, w]``.
            timestep: ``[B]``, 1000 t.
            text: embeddings, or token ids for the text encoder that is trained along.
            positions: temporal positions of the latent frames.
            kept: ``[B, K]``, the tokens that are computed; None: all of them, see `forward_tokens`.
        """
        device = hidden_states.device.type
        dtype = self.autocast_dtype
        with nullcontext() if dtype is None else torch.autocast(device, dtype):
            embeds, misplaced = text.tokens, None
            if self.text_encoder is not None:
                assert text.mask is not None
                embeds = embed_tokens(self.text_encoder, text.tokens, text.mask)
                if self.clauses is not None:
                    assert text.marks is not None
                    misplaced = self.clauses(embeds, text.mask, text.marks)
            with use_positions([self.transformer], positions):
                embeds = embeds.to(hidden_states.dtype)
                if kept is not None:
                    out = forward_tokens(self.transformer, hidden_states, timestep, embeds, kept)
                else:
                    out = self.transformer(
                        hidden_states=hidden_states,
                        timestep=timestep,
                        encoder_hidden_states=embeds,
                        return_dict=False,
                    )[0]
            said = None if self.recogniser is None else self.recogniser()
        return out, said, misplaced


def trainable_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by name."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def decay_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups: weights with decay; norms, biases and other vectors without."""
    every = list(parameters)
    groups = [
        {"params": [p for p in every if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in every if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
