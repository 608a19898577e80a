"""Encoders that are a linear code of pixel blocks (`start_linear`), computed as the one convolution that they are.

An AutoencoderKLWan that begins so runs dozens of layers of which all but a few add zero, over every frame of a clip, of
which all but every fourth are left out. While a small transformer is trained on drawings that are always new, that is
as much work as the transformer itself.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F

from storymem.conditioning.codec import LatentCodec

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan

__all__ = ["BlockCode", "BlockCodec", "find_block_code", "quick_codec"]

_TOLERANCE = 1e-4  # of the largest code; what float32 rounds away is some 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class BlockCode:
    """An encoder's way from blocks of pixels to its last norm: affine, the same in every block, of one frame.

    Attributes:
        weight: ``[W, 3, s, s]``, s the VAE's spatial factor.
        bias: ``[W]``.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    @torch.no_grad()
    def encode(self, vae: AutoencoderKLWan, pixels: torch.Tensor) -> torch.Tensor:
        """What ``vae.encode(pixels).latent_dist.mode()`` is, of ``[B, 3, F, H, W]``: ``[B, z, F_lat, h, w]``."""
        encoder, quant = cast(Any, vae.encoder), cast(Any, vae.quant_conv)
        frames = pixels[:, :, :: vae.config.scale_factor_temporal].transpose(1, 2)
        batch, count = frames.shape[:2]
        size = self.weight.shape[2:]
        features = F.conv2d(frames.flatten(0, 1), self.weight, self.bias, stride=size)
        features = features.view(batch, count, *features.shape[1:]).transpose(1, 2)
        features = encoder.nonlinearity(encoder.norm_out(features))
        return cast(torch.Tensor, quant(_one_tap(encoder.conv_out, features)).chunk(2, dim=1)[0])


class BlockCodec(LatentCodec):
    """A `LatentCodec` whose encoder is a `BlockCode`: the same latents but for rounding.

    Args:
        vae: as for `LatentCodec`.
        code: of its encoder.
    """

    def __init__(self, vae: AutoencoderKLWan, code: BlockCode) -> None:
        super().__init__(vae)
        self.code = code

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor, device: torch.device | str | None = None) -> torch.Tensor:
        """See `LatentCodec.encode`; always where the code is."""
        self.frames_encoded += pixels.shape[0] * pixels.shape[2]
        latents = self.code.encode(self.vae, pixels.to(self.code.weight)).float()
        mean, std = self._statistics(latents)
        return (latents - mean) / std


def quick_codec(vae: AutoencoderKLWan) -> LatentCodec:
    """The quickest codec of a VAE that stays where and as it is."""
    # Looked for on the processor: accelerators round more, and some refuse the encoder's attention on single blocks.
    code = find_block_code(vae if vae.device.type == "cpu" else copy.deepcopy(vae).to("cpu"))
    if code is None:
        return LatentCodec(vae)
    return BlockCodec(vae, BlockCode(code.weight.to(vae.device), code.bias.to(vae.device)))


@torch.no_grad()
def find_block_code(vae: AutoencoderKLWan) -> BlockCode | None:
    """The block code that a VAE's encoder is; None if it is another one, as all trained encoders are.

    Looked for by showing the encoder each pixel of a block alone, and believed if it then says of noise what the
    encoder says.
    """
    encoder = cast(Any, vae.encoder)
    rest = encoder.conv_out.weight.clone()
    rest[:, :, -1, rest.shape[3] // 2, rest.shape[4] // 2] = 0
    if rest.any():
        return None
    size, numbers = int(vae.config.scale_factor_spatial), {"device": rest.device, "dtype": rest.dtype}
    single = torch.eye(3 * size**2, **numbers).view(-1, 3, 1, size, size)
    heard: list[torch.Tensor] = []
    hook = encoder.norm_out.register_forward_pre_hook(lambda _, arguments: heard.append(arguments[0]))
    try:
        vae.encode(torch.cat([torch.zeros_like(single[:1]), single]))
    finally:
        hook.remove()
    said = torch.cat(heard).flatten(1)  # an encoder with slicing is called clip by clip
    code = BlockCode((said[1:] - said[0]).T.reshape(-1, 3, size, size).contiguous(), said[0])
    frames = 2 * int(vae.config.scale_factor_temporal) + 1
    source = torch.Generator().manual_seed(0)
    noise = (torch.rand(2, 3, frames, 2 * size, 3 * size, generator=source) * 2 - 1).to(**numbers)
    noise[1] = noise[1].sign()
    wanted = vae.encode(noise).latent_dist.mode()
    error = (code.encode(vae, noise) - wanted).abs().max()
    return code if error <= _TOLERANCE * wanted.abs().max() else None


def _one_tap(conv: Any, x: torch.Tensor) -> torch.Tensor:
    """A causal convolution of which only the tap in the middle of the last frame is not zero."""
    middle = (conv.weight.shape[3] // 2, conv.weight.shape[4] // 2)
    weight = conv.weight[:, :, -1, middle[0], middle[1]]
    return F.conv3d(x, weight[:, :, None, None, None], conv.bias)
