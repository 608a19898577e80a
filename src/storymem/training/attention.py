"""Attention for training on processors in bfloat16: plain matrix products instead of PyTorch's fused kernel.

PyTorch's fused attention for CPUs computes its backward pass in bfloat16 several times more slowly than in float32, and
short sequences gain nothing from never holding their scores. `benchmarks/attention.py` times the three side by side.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch

if TYPE_CHECKING:
    from diffusers import WanTransformer3DModel
    from diffusers.models.transformers.transformer_wan import WanAttention

__all__ = ["MatrixAttnProcessor", "attend", "use_matrix_attention"]


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Scaled dot product attention ``[B, H, L, head_dim]`` of queries to keys and values ``[B, H, S, head_dim]``."""
    scores: torch.Tensor = (query @ key.transpose(2, 3)).float() * query.shape[-1] ** -0.5
    return scores.softmax(dim=-1).to(value.dtype) @ value


class MatrixAttnProcessor:
    """What diffusers' `WanAttnProcessor` computes, for text and video (there are no image tokens).

    Products are in the dtype of the values, softmax and rotation in float32.
    """

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: torch.Tensor,
        encoder_hidden_states: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        rotary_emb: tuple[torch.Tensor, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """``[B, L, D]`` from hidden states ``[B, L, D]``, which look at themselves or at ``[B, S, D]``.

        Args:
            attn: whose projections and norms are used.
            hidden_states: where queries come from.
            encoder_hidden_states: where keys and values come from; None: from `hidden_states`.
            attention_mask: there is none in Wan.
            rotary_emb: cos and sin ``[1 or B, L, 1, head_dim]``, each value twice.
        """
        assert attention_mask is None
        assert attn.add_k_proj is None
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        value = attn.to_v(context).unflatten(2, (attn.heads, -1))
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        key = attn.norm_k(attn.to_k(context)).unflatten(2, (attn.heads, -1))
        if rotary_emb is not None:
            query, key = (_turned(x, *rotary_emb) for x in (query, key))
        out = attend(*(x.to(value.dtype).transpose(1, 2) for x in (query, key, value)))
        hidden_states = attn.to_out[0](out.transpose(1, 2).flatten(2))
        return cast(torch.Tensor, attn.to_out[1](hidden_states))


def _turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding of ``[B, L, H, head_dim]``; neighbours are a pair."""
    even, odd = x.float().reshape(*x.shape[:-1], -1, 2).unbind(-1)
    cos, sin = cos[..., 0::2], sin[..., 0::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2)


def use_matrix_attention(transformer: WanTransformer3DModel) -> None:
    """Let all attentions of a transformer be computed by `MatrixAttnProcessor`; weights stay as they are."""
    transformer.set_attn_processor(MatrixAttnProcessor())
