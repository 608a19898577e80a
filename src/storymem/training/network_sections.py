"""The sections of a training configuration that say what networks there are; `docs/training.md` lists every field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from storymem.training.sections import Above0, Positive, Section, Share

__all__ = ["LoraSection", "TextEncoderSection", "TransformerSection", "VaeSection"]


class LoraSection(Section):
    """The memory LoRA; defaults and targets are the method's."""

    rank: Positive = 128
    """Rank."""
    alpha: Above0 | None = None
    """Alpha; the rank if left out."""
    rslora: bool = True
    """Scale alpha / sqrt(rank) (rank-stabilised) instead of alpha / rank."""
    dropout: Share = 0.05
    """Dropout on its input."""
    start: Path | None = None
    """A LoRA to begin with, as of another run: of the same rank, or with `train: full` merged into the weights."""


class TransformerSection(Section):
    """A new WanTransformer3DModel with 2 z + 4 input channels."""

    num_layers: Positive = 8
    """Blocks."""
    num_attention_heads: Positive = 4
    """Heads."""
    attention_head_dim: Positive = 48
    """Channels per head, even; width is heads times this."""
    ffn_dim: Positive = 768
    """Inner width of the feed-forward."""
    freq_dim: Positive = 256
    """Width of the sinusoidal time embedding."""
    patch_size: tuple[Positive, Positive, Positive] = (1, 2, 2)
    """Latent pixels per token: time (always 1), height, width."""
    experts: Literal[1, 2] = 1
    """One transformer, or two split at `boundary_ratio`."""
    boundary_ratio: Share = 0.9
    """Where the two experts change."""

    @model_validator(mode="after")
    def _positions(self) -> TransformerSection:
        if self.attention_head_dim % 2:
            raise ValueError(
                f"attention_head_dim is {self.attention_head_dim}; it must be even, because positions turn channels in "
                "pairs"
            )
        if self.patch_size[0] != 1:
            raise ValueError(
                f"patch_size is {list(self.patch_size)}; its first number must be 1, because every latent frame has a "
                "position of its own"
            )
        return self


class TextEncoderSection(Section):
    """A new UMT5 encoder and its tokenizer, trained together with the transformer."""

    d_model: Positive = 192
    """Width."""
    num_layers: Positive = 3
    """Blocks."""
    num_heads: Positive = 4
    """Heads."""
    d_kv: Positive = 48
    """Channels per head."""
    d_ff: Positive = 384
    """Inner width of the feed-forward."""
    vocabulary: Positive = 2048
    """Tokens at most; learned from the captions (byte-pair encoding, words of any script), if there is no `start`."""
    max_tokens: Positive = 64
    """Length of a prompt in tokens; with `start` that of its tokenizer."""
    captions: Positive = 4096
    """Captions the tokenizer is learned from, at most, if there is no `start`."""


class VaeSection(Section):
    """A new AutoencoderKLWan; it compresses by `patch_size`, times 2 for each entry of `dim_mult` after the first."""

    base_dim: Positive = 32
    """Channels of the first stage."""
    decoder_base_dim: Positive | None = None
    """The same of the decoder; `base_dim` if left out."""
    z_dim: Positive = 16
    """Latent channels."""
    dim_mult: tuple[Positive, ...] = (1, 2, 4, 4)
    """Width of each stage."""
    num_res_blocks: Positive = 1
    """Residual blocks of a stage."""
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    """Which steps halve the time; two of them, for four frames to a latent one."""
    patch_size: Literal[1, 2, 4] = 2
    """Pixels folded into channels before the first stage: 2 with three steps is 16x."""
    init: Literal["random", "linear"] = "random"
    """Weights without `start`: random, or an encoder that computes principal components of blocks of pixels."""
    freeze_encoder: bool = False
    """Train the decoder only: the code stays as it is, and transformers can be trained on it meanwhile."""
    start: Path | None = None
    """A VAE folder of this shape, or with a smaller `patch_size`, whose weights to begin with: another run, say."""
    latent_scale: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """How much louder models are given each latent channel, one number for each of `z_dim`; left out, as it is."""

    @model_validator(mode="after")
    def _lengths(self) -> VaeSection:
        if self.latent_scale and len(self.latent_scale) != self.z_dim:
            raise ValueError(
                f"latent_scale needs one number for each of the {self.z_dim} channels, not {len(self.latent_scale)}"
            )
        if len(self.temporal_downsample) != len(self.dim_mult) - 1:
            raise ValueError(f"temporal_downsample needs {len(self.dim_mult) - 1} entries, one less than dim_mult")
        if sum(self.temporal_downsample) != 2:
            raise ValueError("temporal_downsample must have two steps: four frames make a latent one")
        if self.freeze_encoder and self.init == "random" and self.start is None:
            raise ValueError(
                "freeze_encoder keeps a code that is there: set init to linear, or start to a VAE's folder"
            )
        if self.init != "random" and self.start is not None:
            raise ValueError("init says how new weights are made, and start gives weights: leave one of them out")
        return self

    @property
    def spatial_factor(self) -> int:
        """Pixels per latent pixel, in each direction."""
        return int(self.patch_size * 2 ** (len(self.dim_mult) - 1))
