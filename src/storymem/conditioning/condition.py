"""What a shot is conditioned on, as one value.

M2V, MI2V, MM2V, MR2V and T2V differ only in how many memory and known frames there are; sampling and training build the
same `ShotCondition` by the same function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from storymem.conditioning.layout import VideoLayout
from storymem.conditioning.rope import temporal_positions
from storymem.errors import SettingsError
from storymem.settings import Blank

if TYPE_CHECKING:
    from storymem.conditioning.codec import LatentCodec

__all__ = ["ShotCondition", "ShotMode", "build_condition", "encode_condition", "shot_mode"]

ShotMode = Literal["t2v", "m2v", "i2v", "mi2v", "mm2v"]


def shot_mode(num_memory: int, num_known: int) -> ShotMode:
    """The method's name for a condition: memory or not, no known frame, one, or several."""
    if num_known == 0:
        return "m2v" if num_memory else "t2v"
    if num_known == 1:
        return "mi2v" if num_memory else "i2v"
    return "mm2v"


@dataclass(frozen=True, eq=False)
class ShotCondition:
    """Everything that the transformer is told of a shot besides the prompt.

    Attributes:
        layout: the sizes.
        mask: ``[B, 4, M + F_lat, h, w]`` float32, 1 where the frame is given; B is 1 but in training.
        latents: ``[B, z, M + F_lat, h, w]`` float32, the memory's latents, then those of the known frames and zeros.
        positions: temporal positions of the M + F_lat latent frames.
    """

    layout: VideoLayout
    mask: torch.Tensor
    latents: torch.Tensor
    positions: tuple[int, ...]

    @property
    def mode(self) -> ShotMode:
        """The method's name of this kind of condition."""
        return shot_mode(self.layout.num_memory, self.layout.num_known)

    @property
    def memory_latents(self) -> torch.Tensor:
        """The memory's part of `latents`: ``[1, z, M, h, w]``."""
        return self.latents[:, :, : self.layout.num_memory]

    @property
    def condition_latents(self) -> torch.Tensor:
        """The shot's part of `latents`: ``[1, z, F_lat, h, w]``."""
        return self.latents[:, :, self.layout.num_memory :]

    def channels(self, in_channels: int, device: torch.device | str, dtype: torch.dtype) -> torch.Tensor | None:
        """What goes beside the noise: ``[1, 4 + z, M + F_lat, h, w]``, or None for a text-to-video transformer.

        Args:
            in_channels: of the transformer; 2 z + 4 (36) takes a condition, z (16) takes none.
            device: where it is needed.
            dtype: of the transformer.

        Raises:
            SettingsError: the transformer has no room for the condition.
        """
        z = self.latents.shape[1]
        if in_channels == z:
            if self.mode != "t2v":
                raise SettingsError(
                    f"this is a text-to-video model ({in_channels} input channels), which cannot see memory or given "
                    f"frames ({self.mode}): use an image-to-video model such as Wan2.2-I2V-A14B with the memory LoRA."
                )
            return None
        expected = 2 * z + self.mask.shape[1]
        if in_channels != expected:
            raise SettingsError(f"the transformer has {in_channels} input channels; {expected} or {z} are known.")
        return torch.cat([self.mask, self.latents], dim=1).to(device=device, dtype=dtype)

    def video(self, latents: torch.Tensor) -> torch.Tensor:
        """The shot's own part of a latent sequence ``[B, z, M + F_lat, h, w]``: the memory slots are thrown away."""
        return latents[:, :, self.layout.num_memory :]


def build_condition(
    layout: VideoLayout, memory_latents: torch.Tensor | None, condition_latents: torch.Tensor, *, stride: int = 5
) -> ShotCondition:
    """Put a condition together from latents (the method, "Conditioning").

    Args:
        layout: the sizes; `num_memory` must be that of `memory_latents`.
        memory_latents: ``[B, z, M, h, w]``, one latent frame per keyframe, or None. A shot is made with B = 1; training
            puts clips of the same layout into one condition.
        condition_latents: ``[B, z, F_lat, h, w]``, the encoded known frames followed by blank ones.
        stride: S of the negative RoPE shift.
    """
    num_memory = 0 if memory_latents is None else memory_latents.shape[2]
    assert num_memory == layout.num_memory, (num_memory, layout)
    assert condition_latents.shape[2] == layout.num_latent_frames, (condition_latents.shape, layout)
    latents = condition_latents if memory_latents is None else torch.cat([memory_latents, condition_latents], dim=2)
    return ShotCondition(
        layout=layout,
        mask=layout.mask().to(latents.device).expand(latents.shape[0], -1, -1, -1, -1),
        latents=latents,
        positions=temporal_positions(num_memory, layout.num_latent_frames, stride),
    )


def encode_condition(
    codec: LatentCodec,
    *,
    num_frames: int,
    height: int,
    width: int,
    memory: Sequence[torch.Tensor] = (),
    known: torch.Tensor | None = None,
    stride: int = 5,
    device: torch.device | str | None = None,
    blank: Blank = "zeros",
) -> ShotCondition:
    """Encode pixels into a condition.

    Args:
        codec: the VAE.
        num_frames: pixel frames of the shot, 4k + 1.
        height: pixels.
        width: pixels.
        memory: keyframes ``[3, H, W]`` in [-1, 1], oldest first, already at the shot's size.
        known: known first frames ``[3, K, H, W]`` in [-1, 1], or None.
        stride: S of the negative RoPE shift.
        device: where the VAE runs.
        blank: what stands for frames that are not known; see `SamplingConfig`.

    Raises:
        SettingsError: a frame has another size than the shot.
    """
    num_known = 0 if known is None else known.shape[1]
    layout = VideoLayout(
        num_frames,
        height,
        width,
        num_memory=len(memory),
        num_known=num_known,
        temporal_factor=codec.temporal_factor,
        spatial_factor=codec.spatial_factor,
    )
    frames = [*memory] if known is None else [*memory, known]
    for frame in frames:
        if tuple(frame.shape[-2:]) != (height, width):
            raise SettingsError(
                f"a conditioning frame is {frame.shape[-1]}x{frame.shape[-2]} pixels but the shot is {width}x{height}: "
                "resize it first."
            )
    memory_latents = None
    if memory:
        memory_latents = torch.cat([codec.encode_keyframe(frame, device) for frame in memory], dim=2)
    condition_latents = codec.encode_known(known, num_frames, height, width, device, blank)
    return build_condition(layout, memory_latents, condition_latents, stride=stride)
