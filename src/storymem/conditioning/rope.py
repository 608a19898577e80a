"""Temporal positions of memory: the negative RoPE shift (StoryMem, arXiv 2512.19539, section 3).

Memory keyframe i of M sits at temporal position ``-(M - i) * S``, the shot at ``0 .. F_lat - 1``. So the memory lies in
the shot's past, keyframes S latent frames apart, and the shot's own positions are those the base model was trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from torch import nn

if TYPE_CHECKING:
    from diffusers.models.transformers.transformer_wan import WanTransformer3DModel

__all__ = ["MemoryRotaryPosEmbed", "install_memory_rope", "temporal_positions", "use_positions"]


def temporal_positions(num_memory: int, num_latent_frames: int, stride: int = 5) -> tuple[int, ...]:
    """Temporal positions ``{-M*S, ..., -2S, -S, 0, 1, ..., F_lat - 1}`` of the latent frames, memory first.

    RoPE is relative, so ``stride=1`` is the code as first released, which numbered memory and shot 0, 1, 2, ...
    """
    memory = tuple(-stride * (num_memory - i) for i in range(num_memory))
    return memory + tuple(range(num_latent_frames))


class MemoryRotaryPosEmbed(nn.Module):
    """Wan's 3D rotary embedding with free temporal positions; takes the place of `transformer.rope`.

    Height and width positions are as usual. The output is that of the module it replaces: two float32 tensors
    ``[1, F * h * w, 1, head_dim]`` (cos and sin, each value twice), so attention processors and context parallelism,
    which shard it by module name and dimension, work unchanged. It has no parameters and no buffers.

    Args:
        attention_head_dim: size of one head.
        patch_size: (t, h, w).
        theta: base of the frequencies.
    """

    def __init__(self, attention_head_dim: int, patch_size: Sequence[int], theta: float = 10000.0) -> None:
        super().__init__()
        self.attention_head_dim = attention_head_dim
        self.patch_size = tuple(patch_size)
        self.theta = theta
        spatial_dim = 2 * (attention_head_dim // 6)
        self.dims = (attention_head_dim - 2 * spatial_dim, spatial_dim, spatial_dim)  # t, h, w
        self.positions: tuple[int, ...] | None = None
        self._cached_key: tuple[object, ...] | None = None
        self._cached: tuple[torch.Tensor, torch.Tensor] | None = None

    def _axis(self, dim: int, positions: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        # Angles in float64 on the CPU, as Wan computes them; some devices have no float64.
        cos, sin = get_1d_rotary_pos_embed(
            dim,
            torch.tensor(positions, dtype=torch.float64),
            self.theta,
            use_real=True,
            repeat_interleave_real=True,
            freqs_dtype=torch.float64,
        )
        return cast(torch.Tensor, cos), cast(torch.Tensor, sin)

    def forward(self, hidden_states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Cos and sin for latents ``[B, C, F, H, W]``; positions 0, 1, 2, ... unless `use_positions` set others."""
        _, _, num_frames, height, width = hidden_states.shape
        p_t, p_h, p_w = self.patch_size
        frames, rows, columns = num_frames // p_t, height // p_h, width // p_w
        positions = tuple(range(frames)) if self.positions is None else self.positions
        if len(positions) != frames:
            raise AssertionError(f"{len(positions)} temporal positions are set for {frames} latent frames")

        # What was computed in inference mode cannot be trained with.
        key = (positions, rows, columns, hidden_states.device, torch.is_inference_mode_enabled())
        if self._cached is None or self._cached_key != key:
            axes = [
                self._axis(dim, pos)
                for dim, pos in zip(self.dims, (positions, range(rows), range(columns)), strict=True)
            ]
            parts = []
            for trig in range(2):  # cos, then sin
                t, h, w = (axis[trig].float() for axis in axes)
                grid = torch.cat(
                    [
                        t.view(frames, 1, 1, -1).expand(frames, rows, columns, -1),
                        h.view(1, rows, 1, -1).expand(frames, rows, columns, -1),
                        w.view(1, 1, columns, -1).expand(frames, rows, columns, -1),
                    ],
                    dim=-1,
                )
                parts.append(grid.reshape(1, frames * rows * columns, 1, -1).to(hidden_states.device))
            self._cached_key, self._cached = key, (parts[0], parts[1])
        return self._cached


def install_memory_rope(transformer: WanTransformer3DModel) -> MemoryRotaryPosEmbed:
    """Replace `transformer.rope` by a `MemoryRotaryPosEmbed`, once; returns it. Nothing of the state dict changes."""
    if isinstance(transformer.rope, MemoryRotaryPosEmbed):
        return transformer.rope
    config = transformer.config
    rope = MemoryRotaryPosEmbed(config.attention_head_dim, config.patch_size)
    transformer.rope = rope
    return rope


@contextmanager
def use_positions(transformers: Sequence[WanTransformer3DModel | None], positions: tuple[int, ...]) -> Iterator[None]:
    """Inside the block, these transformers see latent frames at these temporal positions; afterwards at 0, 1, 2, ...

    The memory embedding is installed where it is missing.
    """
    ropes = [install_memory_rope(transformer) for transformer in transformers if transformer is not None]
    for rope in ropes:
        rope.positions = positions
    try:
        yield
    finally:
        for rope in ropes:
            rope.positions = None
