"""A VAE that goes on with larger pictures of the same latents."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toys
from toys import pictures, vae_of

from storymem.conditioning.codec import LatentCodec
from storymem.errors import SettingsError
from storymem.training.block_code import find_block_code
from storymem.training.finer_pixels import refine_pixels
from storymem.training.linear_start import start_linear
from storymem.training.networks import build_vae
from storymem.training.run import train


@pytest.mark.parametrize(("patch", "finer"), [(1, 2), (1, 4), (2, 4)])
def test_it_says_of_a_large_picture_what_it_said_of_a_small_one(patch: int, finer: int) -> None:
    torch.manual_seed(0)
    shape = toys.LINEAR_VAE
    small = build_vae(shape.model_copy(update={"patch_size": patch}))
    large = build_vae(shape.model_copy(update={"patch_size": finer}))
    large.load_state_dict(refine_pixels(small.state_dict(), patch, finer))
    times = finer // patch
    clip = torch.rand(1, 3, 5, 32 * times, 64 * times) * 2 - 1
    means = torch.nn.functional.avg_pool3d(clip, (1, times, times))
    with torch.no_grad():
        codes = small.encode(means).latent_dist.mode()
        torch.testing.assert_close(large.encode(clip).latent_dist.mode(), codes, atol=1e-5, rtol=1e-4)
        repeated = small.decode(codes).sample.repeat_interleave(times, 3).repeat_interleave(times, 4)
        torch.testing.assert_close(large.decode(codes).sample, repeated, atol=1e-5, rtol=1e-4)


def test_a_linear_code_stays_one() -> None:
    torch.manual_seed(0)
    small = build_vae(toys.LINEAR_VAE)
    start_linear(small, pictures(0, 60)[:, :, 0])
    patch = toys.LINEAR_VAE.patch_size
    large = build_vae(toys.LINEAR_VAE.model_copy(update={"patch_size": 2 * patch}))
    large.load_state_dict(refine_pixels(small.state_dict(), patch, 2 * patch))
    code = find_block_code(large)
    assert code is not None
    assert code.weight.shape[2:] == (2 * toys.LINEAR_VAE.spatial_factor,) * 2


def test_blocks_that_are_no_multiple_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"folds 4 x 4 pixels cannot begin one that folds 2 x 2"):
        refine_pixels({}, 4, 2)


def test_a_run_goes_on_with_larger_pictures(tmp_path: Path) -> None:
    sizes = ("vae.base_dim=12", "vae.decoder_base_dim=8", "vae.dim_mult=[1,1,2]", "vae.freeze_encoder=true")
    train(toys.stage(toys.VAE, tmp_path / "small", *sizes, "vae.init=linear", "steps=2", "vae.latent_scale=[2,1,1,1]"))
    start = ("vae.patch_size=4", f"vae.start={tmp_path / 'small' / 'vae'}", "data.width=64", "data.height=64")
    train(toys.stage(toys.VAE, tmp_path / "large", *sizes, *start, "steps=2"))
    small, large = vae_of(tmp_path / "small"), vae_of(tmp_path / "large")
    assert large.config.scale_factor_spatial == 2 * small.config.scale_factor_spatial == 16
    picture = pictures(0, 1)
    twice = picture.repeat_interleave(2, 3).repeat_interleave(2, 4)
    # Transformers that were trained on the small one's latents are shown the same ones.
    torch.testing.assert_close(LatentCodec(large).encode(twice), LatentCodec(small).encode(picture))
    assert LatentCodec(large).decode(LatentCodec(large).encode(twice)).shape == twice.shape
