"""Pixels to normalised latents and back, with nothing encoded twice."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import torch

from storymem.settings import Blank

if TYPE_CHECKING:
    from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan

__all__ = ["LatentCodec", "blank_frame"]


def blank_frame(blank: Blank, height: int, width: int) -> torch.Tensor:
    """What stands for a frame that is not known, ``[3, height, width]`` in [-1, 1]; see `SamplingConfig.blank`.

    A transformer whose only positions are rotary knows where two tokens are to each other, not where in the picture
    they are. Wan's VAE can show it the edges, for its convolutions are padded; one whose code is of blocks cannot.
    """
    frame = torch.zeros(3, height, width)
    if blank == "gradient":
        frame[0] = torch.linspace(-1, 1, width)
        frame[1] = torch.linspace(-1, 1, height)[:, None]
    return frame


def _blank_video(blank: Blank, num_frames: int, height: int, width: int) -> torch.Tensor:
    """``[1, 3, F, H, W]``; all of it is asked for at once, so that a shot that no machine can hold fails here."""
    pixels = torch.zeros(1, 3, num_frames, height, width)
    if blank != "zeros":
        pixels += blank_frame(blank, height, width)[:, None]
    return pixels


@contextmanager
def _in_one_piece(vae: AutoencoderKLWan) -> Iterator[None]:
    """Without tiles in the block, whatever is said of them."""
    said = getattr(vae, "use_tiling", False)
    vae.use_tiling = False
    try:
        yield
    finally:
        vae.use_tiling = said


class LatentCodec:
    """A Wan VAE with its latent normalisation and two caches.

    - The latents of blank frames (a shot that begins with a cut has no known frames) are computed once per size.
    - The latents of a keyframe are computed once while it stays in use, whatever the number of shots that see it.

    Both are exact: a cached tensor is the one that was computed. Latents are float32 on the CPU between uses.

    Args:
        vae: the model; it is used as it is (slicing, offload hooks, dtype). Where it works in tiles, it only decodes in
            them: latents that a model is conditioned on have no seams, and the encoder needs less memory anyway.
        keyframe_capacity: keyframe latents kept at most, least recently used first out.

    Attributes:
        frames_encoded: pixel frames that went through the encoder so far.
        frames_decoded: pixel frames that came out of the decoder so far.
    """

    def __init__(self, vae: AutoencoderKLWan, keyframe_capacity: int = 64) -> None:
        self.vae = vae
        self.keyframe_capacity = keyframe_capacity
        self.frames_encoded = 0
        self.frames_decoded = 0
        self._blank: dict[tuple[object, ...], torch.Tensor] = {}
        self._keyframes: OrderedDict[tuple[object, ...], torch.Tensor] = OrderedDict()

    @property
    def temporal_factor(self) -> int:
        """Pixel frames per latent frame."""
        return int(self.vae.config.scale_factor_temporal)

    @property
    def spatial_factor(self) -> int:
        """Pixels per latent pixel, in each direction."""
        return int(self.vae.config.scale_factor_spatial)

    def _statistics(self, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        def as_tensor(values: list[float]) -> torch.Tensor:
            return torch.tensor(values, device=like.device, dtype=like.dtype).view(1, -1, 1, 1, 1)

        return as_tensor(self.vae.config.latents_mean), as_tensor(self.vae.config.latents_std)

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor, device: torch.device | str | None = None) -> torch.Tensor:
        """Encode ``[B, 3, F, H, W]`` in [-1, 1] to normalised latents ``[B, z, F_lat, h, w]``, float32.

        The mode of the posterior is taken, not a sample: a condition should not be noisy.
        """
        device = device if device is not None else self.vae.device
        self.frames_encoded += pixels.shape[0] * pixels.shape[2]
        with _in_one_piece(self.vae):
            latents = self.vae.encode(pixels.to(device=device, dtype=self.vae.dtype)).latent_dist.mode().float()
        mean, std = self._statistics(latents)
        return cast(torch.Tensor, (latents - mean) / std)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor, device: torch.device | str | None = None) -> torch.Tensor:
        """Decode normalised latents ``[B, z, F_lat, h, w]`` to pixels ``[B, 3, F, H, W]``, float32 in [-1, 1]."""
        return self.decode_with_gradients(latents, device)

    def decode_with_gradients(self, latents: torch.Tensor, device: torch.device | str | None = None) -> torch.Tensor:
        """`decode`, for what is learned from pixels."""
        device = device if device is not None else self.vae.device
        latents = latents.to(device=device, dtype=torch.float32)
        mean, std = self._statistics(latents)
        video = cast(torch.Tensor, self.vae.decode((latents * std + mean).to(self.vae.dtype), return_dict=False)[0])
        self.frames_decoded += video.shape[0] * video.shape[2]
        return video.float()

    def encode_keyframe(self, frame: torch.Tensor, device: torch.device | str | None = None) -> torch.Tensor:
        """Encode one keyframe ``[3, H, W]`` alone to one latent frame ``[1, z, 1, h, w]``.

        Alone also means: not in a batch with others, so that the result does not depend on the company.
        """
        digest = hashlib.sha256(frame.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()).digest()
        key = (digest, tuple(frame.shape), self.vae.dtype)
        if key not in self._keyframes:
            self._keyframes[key] = self.encode(frame[None, :, None], device).cpu()
            while len(self._keyframes) > self.keyframe_capacity:
                self._keyframes.popitem(last=False)
        self._keyframes.move_to_end(key)
        return self._keyframes[key]

    def encode_known(
        self,
        known: torch.Tensor | None,
        num_frames: int,
        height: int,
        width: int,
        device: torch.device | str | None = None,
        blank: Blank = "zeros",
    ) -> torch.Tensor:
        """Encode the known frames ``[3, K, H, W]`` followed by blank ones in pixel space: ``[1, z, F_lat, h, w]``.

        The frames are put in front of the blank ones before encoding, which never overwrite them.
        """
        if known is not None and known.shape[1]:
            pixels = _blank_video(blank, num_frames, height, width)
            pixels[0, :, : known.shape[1]] = known
            return self.encode(pixels, device).cpu()
        key = (num_frames, height, width, self.vae.dtype, blank)
        if key not in self._blank:
            self._blank[key] = self.encode(_blank_video(blank, num_frames, height, width), device).cpu()
        return self._blank[key]
