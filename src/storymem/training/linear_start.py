"""A VAE that begins as a linear code, instead of as noise.

The encoder is given weights with which it computes principal components of pixel blocks, and nothing else: residual
branches add zero, strided convolutions fold blocks of four into channels and keep the strongest components, the last
frame of each group of four is the one that is coded. From its first step on a decoder then learns from latents that
tell it the picture, and a transformer can be trained at the same time, for the code does not move if the encoder is
frozen. Keyframes, first frames and later frames are coded alike.

SiLU is undone by pairs of channels (``silu(x) - silu(-x) = x``), the norm before it by one large constant channel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from storymem.errors import SettingsError

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan

__all__ = ["start_linear"]

_CONSTANT = 100.0  # of the channel that makes the norm the same everywhere; codes have a length of about sqrt(z)
_LOG_VARIANCE = -8.0


@torch.no_grad()
def start_linear(vae: AutoencoderKLWan, pictures: torch.Tensor) -> None:
    """Give a new VAE's encoder a linear code fitted to pictures, and make its decoder begin without time.

    Codes have mean 0. Component i has a standard deviation proportional to the square root of its share in the
    pictures: half-way between whitened codes, whose faint details are as loud as shapes, and plain ones. All together
    have a mean square of 1.

    Args:
        vae: a new one, not residual in Wan2.2's sense (``is_residual``).
        pictures: ``[N, 3, H, W]`` in [-1, 1]; some hundreds.

    Raises:
        SettingsError: the encoder is too narrow to be linear.
    """
    encoder = cast(Any, vae.encoder)
    config = vae.config
    z, patch = int(config.z_dim), int(config.patch_size or 1)
    widths = [int(config.base_dim) * m for m in (1, *config.dim_mult)]
    if config.is_residual or widths[-1] < 2 * z + 1 or widths[0] < 3 * patch**2:
        raise SettingsError(
            f"vae.start is linear, which takes a first stage of at least {3 * patch**2} channels and a last one of at "
            f"least {2 * z + 1} ({widths[0]} and {widths[-1]} here): raise vae.base_dim."
        )
    _quiet(vae)
    _without_time(vae)
    _identity(encoder.conv_in, 3 * patch**2)
    features = F.pixel_unshuffle(pictures, patch) if patch > 1 else pictures
    if patch > 1:
        # diffusers' patchify orders channels as (colour, column, row), pixel_unshuffle as (colour, row, column).
        blocks = features.view(-1, 3, patch, patch, *features.shape[2:]).transpose(2, 3)
        features = blocks.flatten(1, 3)
    for block in encoder.down_blocks:
        if type(block).__name__ == "WanResample":
            features = _fold(block, features)
    # What the last stages see: `features` in the first channels, unchanged since the last fold.
    last = [b for b in encoder.down_blocks if type(b).__name__ == "WanResidualBlock"][-1]
    if not isinstance(last.conv_shortcut, nn.Conv3d):
        raise SettingsError("vae.start is linear, which takes a last stage that is wider than the one before it.")
    _code(encoder, last.conv_shortcut, features, z)
    identity = torch.eye(2 * z)[:, :, None, None, None]
    for conv, weight in ((vae.quant_conv, identity), (vae.post_quant_conv, identity[:z, :z])):
        cast(nn.Conv3d, conv).weight.copy_(weight)
        nn.init.zeros_(cast(torch.Tensor, conv.bias))


def _quiet(vae: AutoencoderKLWan) -> None:
    """Residual branches and attention add zero; shortcuts of the encoder that change the width copy channels."""
    for owner in (vae.encoder, vae.decoder):
        for module in owner.modules():
            kind = type(module).__name__
            if kind == "WanResidualBlock":
                nn.init.zeros_(module.conv2.weight)
                nn.init.zeros_(module.conv2.bias)
                if owner is vae.encoder and isinstance(module.conv_shortcut, nn.Conv3d):
                    _identity(module.conv_shortcut, min(module.conv_shortcut.weight.shape[:2]))
            elif kind == "WanAttentionBlock":
                nn.init.zeros_(module.proj.weight)
                nn.init.zeros_(module.proj.bias)


def _without_time(vae: AutoencoderKLWan) -> None:
    """The decoder looks at no earlier frame and repeats each latent one: trained on pictures, it makes still clips.

    Wan's own VAE was made so: pictures first, then inflated (arXiv 2503.20314, section 4.1.2).
    """
    for module in vae.decoder.modules():
        kind = type(module).__name__
        if kind == "WanResample" and module.mode == "upsample3d":
            conv = module.time_conv
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)
            for channel in range(2 * module.dim):
                conv.weight[channel, channel % module.dim, -1] = 1
        elif kind == "WanCausalConv3d" and module.kernel_size == (3, 3, 3):
            module.weight[:, :, :-1] = 0


def _identity(conv: nn.Conv3d, count: int) -> None:
    """The first `count` channels pass a causal convolution unchanged, the others are zero."""
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(cast(torch.Tensor, conv.bias))
    middle = [size // 2 for size in conv.weight.shape[3:]]
    for channel in range(count):
        conv.weight[channel, channel, -1, middle[0], middle[1]] = 1


def _components(rows: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean ``[C]``, the strongest components ``[count, C]`` and their standard deviations of rows ``[N, C]``."""
    mean = rows.mean(dim=0)
    values, vectors = torch.linalg.eigh(torch.cov(rows.T.double()))
    order = values.argsort(descending=True)[:count]
    components = vectors[:, order].T
    # Which way a component points is the solver's whim; a resumed run must find the same code on another machine.
    largest = components.abs().argmax(dim=1, keepdim=True)
    components = components * components.gather(1, largest).sign()
    return mean, components.float(), values[order].clamp_min(1e-12).sqrt().float()


def _fold(block: Any, features: torch.Tensor) -> torch.Tensor:
    """Let a downsampling step keep the strongest components of 2x2 blocks of the last frame it sees: those features."""
    conv = block.resample[1]
    width, used = conv.weight.shape[0], features.shape[1]
    count = min(width, 4 * used)
    rows = F.pixel_unshuffle(features, 2).permute(0, 2, 3, 1).flatten(0, 2)  # channels as (feature, row, column)
    mean, components, _ = _components(rows, count)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)
    conv.weight[:count, :used, :2, :2] = components.view(-1, used, 2, 2)
    conv.bias[:count] = -components @ mean
    if block.mode == "downsample3d":
        _identity(block.time_conv, width)
    folded = F.pixel_unshuffle(features, 2)
    return torch.einsum("kc,nchw->nkhw", components, folded) - (components @ mean)[None, :, None, None]


def _code(encoder: Any, conv: nn.Conv3d, features: torch.Tensor, z: int) -> None:
    """The last change of width turns features into codes, their negatives and the constant; the head undoes SiLU."""
    width, used = conv.weight.shape[0], features.shape[1]
    mean, components, spread = _components(features.permute(0, 2, 3, 1).flatten(0, 2), min(z, used))
    scale = spread.rsqrt()
    scale = scale * (len(scale) / (scale * spread).square().sum()).sqrt()
    matrix = components * scale[:, None]
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(cast(torch.Tensor, conv.bias))
    bias = cast(torch.Tensor, conv.bias)
    for sign, first in ((1, 0), (-1, z)):
        conv.weight[first : first + len(matrix), :used, 0, 0, 0] = sign * matrix
        bias[first : first + len(matrix)] = -sign * (matrix @ mean)
    bias[2 * z] = _CONSTANT
    nn.init.ones_(encoder.norm_out.gamma)
    out = encoder.conv_out
    nn.init.zeros_(out.weight)
    nn.init.zeros_(out.bias)
    gain = _CONSTANT / width**0.5
    for channel in range(z):
        out.weight[channel, channel, -1, 1, 1] = gain
        out.weight[channel, z + channel, -1, 1, 1] = -gain
    out.bias[z:] = _LOG_VARIANCE
