"""Computing a part of the tokens only: pictures are mostly background, and most of a step's time goes into tokens.

As in masked training of diffusion transformers (MaskDiT, arXiv 2306.09305), but without a decoder that guesses what
was left out: tokens keep their places (RoPE), the transformer sees fewer of them, and is asked only for those it sees.
Where it is known what clips are about, those tokens are taken first. Each token's error counts as much as it is rare
that the token is taken (Horvitz and Thompson, JASA 1952), so that the mean over all choices is the loss of all tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch

if TYPE_CHECKING:
    from diffusers import WanTransformer3DModel

__all__ = ["TokenChoice", "choose_tokens", "forward_tokens", "patchify", "take", "token_loss"]

_BACKGROUND = 8  # one token in so many that are kept is background, however large the subjects are


@dataclass(frozen=True, slots=True, eq=False)
class TokenChoice:
    """K of L tokens of each of B samples.

    Attributes:
        kept: ``[B, K]`` int64, which, in rising order.
        weight: ``[B, K]``, one over the chance with which the token was taken.
    """

    kept: torch.Tensor
    weight: torch.Tensor


def patchify(latents: torch.Tensor, patch: Sequence[int]) -> torch.Tensor:
    """``[B, C, F, H, W]`` as tokens ``[B, L, p_t * p_h * p_w * C]``, in the order of `WanTransformer3DModel`."""
    batch, channels, frames, height, width = latents.shape
    p_t, p_h, p_w = patch
    parts = latents.reshape(batch, channels, frames // p_t, p_t, height // p_h, p_h, width // p_w, p_w)
    return parts.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4).flatten(1, 3)


def choose_tokens(scores: torch.Tensor, subject: torch.Tensor, count: int) -> TokenChoice:
    """Take `count` tokens of each sample by lot: subjects first, but never only subjects where there is background.

    Args:
        scores: ``[B, L]``, random, all different in a row: the smaller the sooner taken.
        subject: ``[B, L]`` bool, the tokens that show what the clip is about; all False where that is not known.
        count: K, from 1 to L.
    """
    number = subject.sum(dim=1)
    others = subject.shape[1] - number
    reserved = others.clamp(max=math.ceil(count / _BACKGROUND))
    of_subject = torch.minimum(number, count - reserved)
    of_subject = torch.maximum(of_subject, count - others)
    rest = count - of_subject
    take = _first(scores, subject, of_subject) | _first(scores, ~subject, rest)
    # Sorted, not looked for: how many there are is known, and an accelerator need not be waited for to say it.
    places = torch.arange(take.shape[1], device=take.device)
    kept = torch.where(take, places, take.shape[1]).sort(dim=1).values[:, :count]
    # Chances of groups of which nothing is taken are not looked up.
    chances = torch.where(
        subject, (of_subject / number.clamp(min=1))[:, None], (rest / others.clamp(min=1))[:, None]
    ).gather(1, kept)
    return TokenChoice(kept, 1 / chances)


def _first(scores: torch.Tensor, group: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """``[B, L]`` bool: those of a group with the `count` ``[B]`` smallest scores of it."""
    ranks = scores.masked_fill(~group, torch.inf).argsort(dim=1).argsort(dim=1)
    return group & (ranks < count[:, None])


def take(tokens: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Some tokens ``[B, K, D]`` of all ``[B, L, D]``."""
    return tokens.gather(1, kept[:, :, None].expand(-1, -1, tokens.shape[2]))


def token_loss(
    velocity: torch.Tensor,
    wanted: torch.Tensor,
    choice: TokenChoice,
    patch: Sequence[int],
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """What `video_loss` is in the mean over all choices, per sample ``[B]``, in float32.

    Args:
        velocity: what the transformer said of the clip's tokens that were taken, ``[B, K, p_t * p_h * p_w * z]``.
        wanted: what it should have said of them.
        choice: which were taken.
        patch: ``(p_t, p_h, p_w)``.
        weight: of each latent pixel, ``[B, F_lat, h, w]``, as in `video_loss`.
    """
    squares = (velocity.float() - wanted.float()).square()
    pixels = squares.view(*squares.shape[:2], math.prod(patch), -1).mean(dim=3)  # [B, K, p]
    if weight is None:  # the weights of what was taken of a group add up to the group's number
        return torch.sum(pixels.mean(dim=2) * choice.weight, dim=1) / choice.weight.sum(dim=1)
    tokens = patchify(weight[:, None], patch)  # [B, L, p]
    own = take(tokens, choice.kept)
    return torch.sum((pixels * own).sum(dim=2) * choice.weight, dim=1) / tokens.flatten(1).sum(dim=1)


def forward_tokens(
    transformer: WanTransformer3DModel,
    hidden_states: torch.Tensor,
    timestep: torch.Tensor,
    text: torch.Tensor,
    kept: torch.Tensor,
) -> torch.Tensor:
    """What the transformer says of some tokens if it is shown only those: ``[B, K, p_t * p_h * p_w * z]``.

    Args:
        transformer: under `use_positions`.
        hidden_states: ``[B, C, F, H, W]``.
        timestep: ``[B]``, 1000 t.
        text: embeddings ``[B, S, D]``.
        kept: ``[B, K]``, the tokens that are shown.
    """
    rope = tuple(part[0][kept] for part in transformer.rope(hidden_states))  # [B, K, 1, head_dim] each
    tokens = transformer.patch_embedding(hidden_states).flatten(2).transpose(1, 2)
    tokens = take(tokens, kept)
    time, modulation, text, _ = transformer.condition_embedder(timestep, text, None)
    modulation = modulation.unflatten(1, (6, -1))
    for block in transformer.blocks:
        if torch.is_grad_enabled() and transformer.gradient_checkpointing:
            tokens = transformer._gradient_checkpointing_func(block, tokens, text, modulation, rope)
        else:
            tokens = block(tokens, text, modulation, rope)
    shift, scale = (transformer.scale_shift_table + time[:, None]).chunk(2, dim=1)
    tokens = (transformer.norm_out(tokens.float()) * (1 + scale) + shift).type_as(tokens)
    return cast(torch.Tensor, transformer.proj_out(tokens))
