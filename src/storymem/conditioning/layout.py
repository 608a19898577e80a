"""All arithmetic between pixel frames and latent frames has its home here.

Wan's VAE is causal: pixel frame 0 is latent frame 0, then every four pixel frames make one latent frame. The sequence
that the transformer sees has the memory in front: ``[B, C, M + F_lat, h, w]``, one latent frame per keyframe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storymem.errors import SettingsError

if TYPE_CHECKING:
    import torch

__all__ = ["VideoLayout", "check_tokens", "num_latent_frames"]

TEMPORAL_FACTOR = 4
SPATIAL_FACTOR = 8


def num_latent_frames(num_frames: int, factor: int = TEMPORAL_FACTOR) -> int:
    """Latent frames of `num_frames` pixel frames, a 4k + 1 number: ``(num_frames - 1) / 4 + 1``."""
    return (num_frames - 1) // factor + 1


def check_tokens(height: int, width: int, factor: int, patch_size: Sequence[int], of: str = "") -> None:
    """Refuse a picture that a transformer's tokens do not cover evenly.

    Args:
        height: pixels.
        width: pixels.
        factor: pixels per latent pixel, in each direction.
        patch_size: latent frames, rows and columns of a token.
        of: stands before the name of what is wrong, such as ``data.``.

    Raises:
        SettingsError: says what height and width must be a multiple of.
    """
    for name, size, patch in (("height", height, patch_size[1]), ("width", width, patch_size[2])):
        step = factor * patch
        if size % step:
            lower = max(step, size // step * step)
            raise SettingsError(
                f"{of}{name} is {size}; it must be a multiple of {step}, such as {lower} or {lower + step}: a token of "
                f"this model is {patch} latents of {factor} pixels."
            )


@dataclass(frozen=True, slots=True)
class VideoLayout:
    """The sizes of one shot, in pixels and in latents.

    Attributes:
        num_frames: pixel frames of the shot, 4k + 1.
        height: pixels.
        width: pixels.
        num_memory: keyframes in front of the shot (M).
        num_known: pixel frames at the start that are given (0: M2V; 1: MI2V; 5: MM2V).
        temporal_factor: pixel frames per latent frame.
        spatial_factor: pixels per latent pixel, in each direction.
    """

    num_frames: int
    height: int
    width: int
    num_memory: int = 0
    num_known: int = 0
    temporal_factor: int = TEMPORAL_FACTOR
    spatial_factor: int = SPATIAL_FACTOR

    def __post_init__(self) -> None:
        if self.num_frames < 1 or (self.num_frames - 1) % self.temporal_factor:
            raise SettingsError(f"num_frames is {self.num_frames}; it must be {self.temporal_factor}k + 1.")
        if self.height % self.spatial_factor or self.width % self.spatial_factor:
            raise SettingsError(
                f"the size is {self.width}x{self.height}; both numbers must be multiples of {self.spatial_factor}."
            )
        if not 0 <= self.num_known <= self.num_frames:
            raise SettingsError(
                f"{self.num_known} frames are given at the start of a shot of {self.num_frames}: make the shot longer."
            )

    @property
    def num_latent_frames(self) -> int:
        """Latent frames of the shot itself (F_lat)."""
        return num_latent_frames(self.num_frames, self.temporal_factor)

    @property
    def total_latent_frames(self) -> int:
        """Latent frames of the whole sequence, memory included (M + F_lat)."""
        return self.num_memory + self.num_latent_frames

    @property
    def latent_height(self) -> int:
        """Height of a latent frame."""
        return self.height // self.spatial_factor

    @property
    def latent_width(self) -> int:
        """Width of a latent frame."""
        return self.width // self.spatial_factor

    def latents_shape(self, channels: int = 16, batch: int = 1) -> tuple[int, int, int, int, int]:
        """Shape of the whole latent sequence: ``[B, C, M + F_lat, h, w]``."""
        return (batch, channels, self.total_latent_frames, self.latent_height, self.latent_width)

    def num_tokens(self, patch_size: tuple[int, int, int] = (1, 2, 2)) -> int:
        """Length of the transformer's sequence."""
        t, h, w = patch_size
        return (self.total_latent_frames // t) * (self.latent_height // h) * (self.latent_width // w)

    def mask(self) -> torch.Tensor:
        """What is given: ``[1, 4, M + F_lat, h, w]`` float32, 1 on memory and on the known video frames, else 0.

        The four channels of a latent frame are its four pixel frames; latent frame 0 has but one, which fills all four
        (Wan's image-to-video mask; arXiv 2503.20314, section on I2V).
        """
        import torch

        factor = self.temporal_factor
        known = torch.zeros(self.num_frames)
        known[: self.num_known] = 1.0
        padded = torch.cat([known[:1].expand(factor), known[1:]])  # frame 0 stands for a whole latent frame
        video = padded.view(self.num_latent_frames, factor).t()  # [4, F_lat]
        mask = torch.cat([torch.ones(factor, self.num_memory), video], dim=1)
        return mask[None, :, :, None, None].expand(1, -1, -1, self.latent_height, self.latent_width).contiguous()
