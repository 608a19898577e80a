"""Naming subjects from the middle of the network: a second objective that makes it learn what memory shows.

The flow loss says little of who is in a picture: most of it is about where things are. As representation alignment
(REPA, arXiv 2410.06940) does with the features of a vision model, a linear layer on the tokens of a middle block is
asked what the subjects there look like, in the clip and in its memory; what it says is learned from the truth that a
world knows. The layer is left behind when training ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from storymem.errors import SettingsError
from storymem.training.subjects import SubjectBatch

__all__ = ["Recogniser", "recognition_loss", "recognition_share"]


class Recogniser(nn.Module):
    """Says what every token of a middle block is part of; put it beside the transformer that it listens to.

    Args:
        transformer: a WanTransformer3DModel whose tokens are one latent frame long.
        classes: number of classes in each respect in which subjects can be described.

    Raises:
        SettingsError: tokens are longer.
    """

    def __init__(self, transformer: Any, classes: Sequence[int]) -> None:
        super().__init__()
        config = transformer.config
        if config.patch_size[0] != 1:
            raise SettingsError("loss.recognition needs tokens of one latent frame: set patch_size to [1, h, w].")
        self.patch = (int(config.patch_size[1]), int(config.patch_size[2]))
        self.classes = tuple(classes)
        width = config.num_attention_heads * config.attention_head_dim
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.head = nn.Linear(width, sum(classes))
        self._heard: list[torch.Tensor] = []
        # The block past the middle: all before it can fetch from memory and text, all after it draw.
        transformer.blocks[len(transformer.blocks) // 2].register_forward_hook(self._hear)

    # A compiled block must not take the list into its program.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _hear(self, block: nn.Module, arguments: Any, output: torch.Tensor) -> None:
        self._heard[:] = [output]

    def forward(self, frames: int, height: int, width: int) -> torch.Tensor:
        """Logits ``[B, T, h / p, w / p, sum(classes)]`` in float32 of the transformer's last call.

        Args:
            frames: T, latent frames of that call.
            height: h, in latent pixels.
            width: w.
        """
        (tokens,) = self._heard
        self._heard.clear()
        logits: torch.Tensor = self.head(self.norm(tokens.float())).float()
        grid = (frames, height // self.patch[0], width // self.patch[1])
        return logits.view(len(logits), *grid, logits.shape[-1])


def _shares(
    logits: torch.Tensor, subjects: SubjectBatch, classes: Sequence[int], patch: tuple[int, int]
) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]]:
    """Per respect: logits ``[B, T, 1, h, w, C]``, labels and weights ``[B, T, N, h, w]``; and the sum of weights."""
    batch, slots, number = subjects.masks.shape[:3]
    covered = torch.nn.functional.avg_pool2d(subjects.masks.flatten(0, 2), patch)
    covered = covered.view(batch, slots, number, *covered.shape[1:])
    parts = []
    for some, labels in zip(torch.split(logits, list(classes), dim=-1), subjects.labels.unbind(-1), strict=True):
        spread = labels[..., None, None].expand_as(covered)
        parts.append((some[:, :, None], spread.clamp(min=0), covered * (spread >= 0)))
    total = torch.stack([weight.flatten(1).sum(1) for _, _, weight in parts]).sum(0)
    return total, parts


def recognition_loss(
    logits: torch.Tensor, subjects: SubjectBatch, classes: Sequence[int], patch: tuple[int, int]
) -> torch.Tensor:
    """Cross entropy in nats of what tokens are said to be part of, per sample ``[B]``.

    The mean over tokens and respects, each token weighed by how much of it a subject has; 0 where there is no subject.

    Args:
        logits: ``[B, T, h / p, w / p, sum(classes)]``.
        subjects: the truth, of latent pixels.
        classes: of each respect, in the order of labels.
        patch: latent pixels per token.
    """
    total, parts = _shares(logits, subjects, classes, patch)
    loss = torch.zeros_like(total)
    for some, labels, weight in parts:
        said = some.log_softmax(-1).expand(*labels.shape, -1).gather(-1, labels[..., None])[..., 0]
        loss = loss - (said * weight).flatten(1).sum(1)
    return loss / total.clamp(min=1e-6)


@torch.no_grad()
def recognition_share(
    logits: torch.Tensor, subjects: SubjectBatch, classes: Sequence[int], patch: tuple[int, int]
) -> torch.Tensor:
    """The share of what could be said of tokens that is said rightly, per sample ``[B]``; arguments as above."""
    total, parts = _shares(logits, subjects, classes, patch)
    right = torch.zeros_like(total)
    for some, labels, weight in parts:
        right = right + ((some.argmax(-1) == labels) * weight).flatten(1).sum(1)
    return right / total.clamp(min=1e-6)
