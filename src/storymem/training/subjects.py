"""What a source knows of the subjects of its clips, such as heroes: where they are, and what can be said of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = ["LatentSubjects", "SubjectBatch", "Subjects", "latent_coverage"]


@dataclass(frozen=True, slots=True, eq=False)
class Subjects:
    """The N subjects of one clip.

    Attributes:
        masks: ``[N, F, H, W]`` in [0, 1], 1 where the picture shows the subject.
        labels: ``[N, L]`` int64, what it is in each of the source's L respects, by class; -1 where that is not known.
            L may be 0.
        shown: ``[N, L]`` bool, whether this clip shows it, as a picture of a face shows no shoes; None: all of it.
    """

    masks: torch.Tensor
    labels: torch.Tensor
    shown: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LatentSubjects:
    """The same in latents.

    Attributes:
        masks: ``[N, F_lat, h, w]`` in [0, 1], how much of a latent pixel the subject has.
        keyframes: ``[K, N, h, w]``, the same of the clip's keyframes.
        labels: ``[N, L]``, as in `Subjects`.
        shown: ``[N, L]`` bool, likewise.
    """

    masks: torch.Tensor
    keyframes: torch.Tensor
    labels: torch.Tensor
    shown: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class SubjectBatch:
    """The subjects in each latent frame of a batch; where there are fewer than N, masks are 0.

    Attributes:
        masks: ``[B, T, N, h, w]`` in [0, 1].
        labels: ``[B, T, N, L]``, as in `Subjects`.
        shown: ``[B, T, N, L]`` bool, whether the clip that the frame is of shows it.
    """

    masks: torch.Tensor
    labels: torch.Tensor
    shown: torch.Tensor

    def regrouped(self, batch: int) -> SubjectBatch:
        """The same frames in another number of samples."""
        parts = (self.masks, self.labels, self.shown)
        return SubjectBatch(*(part.reshape(batch, -1, *part.shape[2:]) for part in parts))

    def to(self, device: torch.device | str) -> SubjectBatch:
        """The same on that device."""
        return SubjectBatch(self.masks.to(device), self.labels.to(device), self.shown.to(device))

    def shown_labels(self) -> torch.Tensor:
        """Labels ``[B, N, L]`` of clips, -1 also where a clip does not show what it is about."""
        return self.labels[:, 0].masked_fill(~self.shown[:, 0], -1)


def latent_coverage(masks: torch.Tensor, temporal_factor: int, spatial_factor: int) -> torch.Tensor:
    """Masks of pixels ``[N, F, H, W]`` as those of latent pixels ``[N, F_lat, h, w]``.

    In space the mean, in time the largest of the frames that go into a latent one, so that nothing that moves is lost.
    """
    covered = torch.nn.functional.avg_pool2d(masks, spatial_factor)
    number, frames, height, width = covered.shape
    rest = covered[:, 1:].reshape(number, (frames - 1) // temporal_factor, temporal_factor, height, width)
    return torch.cat([covered[:, :1], rest.amax(dim=2)], dim=1)
