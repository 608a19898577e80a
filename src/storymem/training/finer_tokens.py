"""Finer tokens for a network that was trained on coarse ones.

A token of a diffusion transformer is a patch of latent pixels. Small patches show small things, and at one number of
parameters a transformer of smaller patches makes better pictures (DiT, arXiv 2212.09748, figure 6), but a step costs
more. So a network learns on coarse tokens first. Only the layers at both ends know the size of a patch; those are
cut, and the rest takes a few hundred steps to get used to its new neighbours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from storymem.errors import SettingsError

__all__ = ["refine_tokens"]


def refine_tokens(
    weights: Mapping[str, torch.Tensor], patch: Sequence[int], finer: Sequence[int]
) -> dict[str, torch.Tensor]:
    """Weights of a WanTransformer3DModel for smaller patches.

    Where a latent is constant over a coarse patch, each fine token begins as the coarse one did (its kernel is the sum
    over the coarse kernel's parts), and says of each place in it the mean of what the coarse token said of its parts.

    Args:
        weights: state of a transformer with patches of `patch`; it stays as it is.
        patch: ``(p_t, p_h, p_w)``.
        finer: the new one; each number divides that of `patch`.

    Raises:
        SettingsError: one does not.
    """
    if any(old % new for old, new in zip(patch, finer, strict=True)):
        raise SettingsError(
            f"start: patches of {list(patch)} cannot be cut into patches of {list(finer)}: transformer.patch_size must "
            "be what the weights have, or divide it."
        )
    parts = [size for old, new in zip(patch, finer, strict=True) for size in (old // new, new)]
    out = dict(weights)
    kernel = weights["patch_embedding.weight"]  # [D, C, p_t, p_h, p_w]
    out["patch_embedding.weight"] = kernel.reshape(*kernel.shape[:2], *parts).sum(dim=(2, 4, 6))
    for name in ("proj_out.weight", "proj_out.bias"):  # rows are (p_t, p_h, p_w, z)
        said = weights[name]
        said = said.reshape(*parts, -1, *said.shape[1:]).mean(dim=(0, 2, 4))
        out[name] = said.flatten(0, 3)
    return out
