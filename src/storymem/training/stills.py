"""Single frames through a causal VAE as what they are: pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

__all__ = ["quicken_stills"]


def quicken_stills(vae: AutoencoderKLWan) -> None:
    """Compute a VAE's causal convolutions of a single first frame in two dimensions: the same, for a third of the work.

    Before the first frame there are only zeros, so of a kernel three frames deep two thirds multiply nothing. For a
    VAE that lives on one device; nothing is stored in the module that would be saved.
    """
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

    for module in vae.modules():
        if isinstance(module, WanCausalConv3d) and module.stride[0] == 1:
            module.forward = _Still(module)


class _Still:
    """Takes the place of a convolution's `forward`."""

    def __init__(self, conv: WanCausalConv3d) -> None:
        self.conv = conv
        self.whole = type(conv).forward

    def __call__(self, x: torch.Tensor, cache_x: torch.Tensor | None = None) -> torch.Tensor:
        conv = self.conv
        left, right, top, bottom, before, _ = conv._padding
        is_plain = before == conv.kernel_size[0] - 1 and (left, top) == (right, bottom)
        if x.shape[2] != 1 or cache_x is not None or not is_plain:
            return cast(torch.Tensor, self.whole(conv, x, cache_x))
        y = F.conv2d(x[:, :, 0], conv.weight[:, :, -1], conv.bias, stride=conv.stride[1:], padding=(top, left))
        return y[:, :, None]
