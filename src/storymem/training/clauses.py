"""Whose clause a word stands in: what the text must say before memory can be given to the right subject.

Trained along with a transformer, a small text encoder gives "fox" the same embedding whether the fox is the first
animal of a caption or the second. A token of the picture then cannot know which of them stands where it is, and so not
whom to look for in memory; knowing it gains nothing by itself, so it is not learned. Here the encoder is asked for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from storymem.training.clips import Caption

__all__ = ["ClauseMarks", "marks_of"]

_STRENGTH = 0.4
"""Length of a mark as a share of an embedding's; what Storyland's memory was bound with, no other was tried."""


class ClauseMarks(nn.Module):
    """A direction of a text encoder's embeddings along which words are to say whose clause they stand in.

    Left behind when training ends; the encoder keeps what it learned.

    Args:
        width: of the embeddings.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.randn(width))

    def forward(self, embeds: torch.Tensor, mask: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
        """Mean squared error of what words say, per caption ``[B]``; 0 for an empty one.

        Along the direction a word should have its mark's share of `_STRENGTH` times the caption's mean length of an
        embedding: the first subject's words all of it, the last one's the negative of it, all others nothing.

        Args:
            embeds: ``[B, L, D]``.
            mask: ``[B, L]``, 0 where there is padding.
            marks: ``[B, L]`` in [-1, 1], see `marks_of`.
        """
        embeds, mask = embeds.float(), mask.float()
        count = mask.sum(dim=1).clamp(min=1)
        length = (embeds.detach().norm(dim=2) * mask).sum(dim=1) / count
        unit = self.direction.float() / self.direction.float().norm()
        said = (embeds @ unit) / (_STRENGTH * length.clamp(min=1e-6))[:, None]
        return cast(torch.Tensor, ((said - marks) ** 2 * mask).sum(dim=1) / count)


def marks_of(caption: str, offsets: Sequence[tuple[int, int]]) -> list[float]:
    """For each token of a caption whose clause it stands in: 1 for the first subject's, evenly down to -1 for the last.

    0 for what speaks of no subject, and of captions with fewer than two of them.

    Args:
        caption: the text.
        offsets: first character and the one after the last of each token; two equal numbers for special ones.
    """
    clauses = caption.clauses if isinstance(caption, Caption) else ()
    marks = [0.0] * len(offsets)
    if len(clauses) < 2:
        return marks
    for number, (start, stop) in enumerate(clauses):
        for token, (first, last) in enumerate(offsets):
            if first < last and first < stop and last > start:
                marks[token] = 1 - 2 * number / (len(clauses) - 1)
    return marks
