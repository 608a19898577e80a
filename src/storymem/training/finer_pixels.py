"""Larger pictures of the same latents.

A VAE that folds blocks of pixels into channels (`patch_size` of AutoencoderKLWan) makes larger pictures if it folds
larger blocks. So a small model draws pictures of four times as many pixels at nearly the same cost: its transformer is
not asked for more, and of the decoder only the last layer grows, which the decoder then has to learn to fill.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from storymem.errors import SettingsError

__all__ = ["refine_pixels"]

_CHANNELS = 3


def refine_pixels(weights: Mapping[str, torch.Tensor], patch: int, finer: int) -> dict[str, torch.Tensor]:
    """Weights of an AutoencoderKLWan for pictures that are larger by ``finer / patch`` in both directions.

    The encoder says of a large picture what it said of that picture made smaller (each pixel the mean of a block), so
    transformers that were trained on its latents go on. The decoder begins with the picture it made before, every pixel
    repeated.

    Args:
        weights: state of a VAE that folds ``patch x patch`` pixels; it stays as it is.
        patch: how many; 1 is a VAE that folds none.
        finer: the new number, a multiple of it.

    Raises:
        SettingsError: it is none.
    """
    if finer % patch:
        raise SettingsError(
            f"start: a VAE that folds {patch} x {patch} pixels cannot begin one that folds {finer} x {finer}: "
            "vae.patch_size must be what the weights have, or a multiple of it."
        )
    times = finer // patch
    out = dict(weights)
    # diffusers' patchify orders channels as (colour, column, row).
    kernel = weights["encoder.conv_in.weight"]
    kernel = kernel.reshape(len(kernel), _CHANNELS, patch, patch, *kernel.shape[2:])
    kernel = kernel.repeat_interleave(times, dim=2).repeat_interleave(times, dim=3) / times**2
    out["encoder.conv_in.weight"] = kernel.flatten(1, 3)
    for name in ("decoder.conv_out.weight", "decoder.conv_out.bias"):
        said = weights[name].reshape(_CHANNELS, patch, patch, *weights[name].shape[1:])
        out[name] = said.repeat_interleave(times, dim=1).repeat_interleave(times, dim=2).flatten(0, 2)
    return out
