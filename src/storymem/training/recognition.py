"""Naming subjects from the middle of the network: a second objective that makes it learn what memory shows.

The flow loss says little of who is in a picture: most of it is about where things are. As representation alignment
(REPA, arXiv 2410.06940) does with the features of a vision model, a linear layer on the tokens of a middle block is
asked what the subjects there look like, in the clip and in its memory; what it says is learned from the truth that a
world knows. The layer is left behind when training ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from storymem.errors import SettingsError
from storymem.training.sparse import TokenChoice
from storymem.training.subjects import SubjectBatch

__all__ = ["Recogniser", "recognition_loss", "recognition_shares"]


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

    def forward(self) -> torch.Tensor:
        """Logits ``[B, K, sum(classes)]`` in float32 of the K tokens of the transformer's last call, in their order."""
        (tokens,) = self._heard
        self._heard.clear()
        return cast(torch.Tensor, self.head(self.norm(tokens.float())).float())


def _shares(
    logits: torch.Tensor,
    subjects: SubjectBatch,
    classes: Sequence[int],
    patch: tuple[int, int],
    choice: TokenChoice | None,
) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]]:
    """Per respect: logits ``[B, 1, K, C]``, labels and weights ``[B, N, K]``; and the sum of all tokens' weights.

    A label is -1 where it is not known, and in frames that do not show the subject.
    """
    batch, slots, number = subjects.masks.shape[:3]
    covered = torch.nn.functional.avg_pool2d(subjects.masks.flatten(0, 2), patch)
    covered = covered.view(batch, slots, number, -1).transpose(1, 2)  # [B, N, T, tokens of a latent frame]
    labels = subjects.labels.transpose(1, 2).masked_fill(~(covered > 0).any(-1)[..., None], -1)
    labels = labels.repeat_interleave(covered.shape[-1], dim=2)  # [B, N, L, respects]
    covered = covered.flatten(2)
    total = torch.sum(covered[..., None] * (labels >= 0), dim=(1, 2, 3))
    if choice is not None:
        kept = choice.kept[:, None].expand(-1, number, -1)
        covered = covered.gather(2, kept) * choice.weight[:, None]
        labels = labels.gather(2, kept[..., None].expand(-1, -1, -1, labels.shape[3]))
    parts = [
        (some[:, None], known, covered * (known >= 0))
        for some, known in zip(torch.split(logits, list(classes), dim=-1), labels.unbind(-1), strict=True)
    ]
    return total.clamp(min=1e-6), parts


def recognition_loss(
    logits: torch.Tensor,
    subjects: SubjectBatch,
    classes: Sequence[int],
    patch: tuple[int, int],
    choice: TokenChoice | None = None,
) -> torch.Tensor:
    """Cross entropy in nats of what tokens are said to be part of, per sample ``[B]``.

    The mean over tokens and respects, each token weighed by how much of it a subject has; 0 where there is no subject.
    Of some tokens, what it is in the mean over all choices of them.

    Args:
        logits: ``[B, K, sum(classes)]``.
        subjects: the truth, of latent pixels.
        classes: of each respect, in the order of labels.
        patch: latent pixels per token.
        choice: which tokens these are; None: all, in their order.
    """
    total, parts = _shares(logits, subjects, classes, patch, choice)
    loss = torch.zeros_like(total)
    for some, labels, weight in parts:
        said = some.log_softmax(-1).expand(*labels.shape, -1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
        loss = loss - (said * weight).flatten(1).sum(1)
    return loss / total


@torch.no_grad()
def recognition_shares(
    logits: torch.Tensor,
    subjects: SubjectBatch,
    classes: Sequence[int],
    patch: tuple[int, int],
    choice: TokenChoice | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The share of what could be said of tokens that is said rightly, and the share that is said of another subject.

    Another's is what is right of another subject in the same frame and wrong of the one whose token it is. Per sample
    ``[B]``; arguments as above.
    """
    total, parts = _shares(logits, subjects, classes, patch, choice)
    right, another = torch.zeros_like(total), torch.zeros_like(total)
    for some, labels, weight in parts:
        fits = some.argmax(-1) == labels
        right = right + (fits * weight).flatten(1).sum(1)
        another = another + ((fits.any(dim=1, keepdim=True) & ~fits) * weight).flatten(1).sum(1)
    return right / total, another / total
