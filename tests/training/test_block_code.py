"""Encoders that are one convolution, and those that only look so."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import toys

from storymem.conditioning.codec import LatentCodec
from storymem.training.block_code import BlockCodec, find_block_code, quick_codec
from storymem.training.linear_start import start_linear
from storymem.training.network_sections import VaeSection
from storymem.training.networks import build_vae
from storymem.training.stills import quicken_stills

WITHOUT_PATCHES = VaeSection(
    base_dim=8, decoder_base_dim=8, z_dim=4, dim_mult=(1, 2, 4), temporal_downsample=(True, True), patch_size=1
)


def linear_vae(config: VaeSection = toys.LINEAR_VAE) -> Any:
    torch.manual_seed(0)
    vae = build_vae(config)
    start_linear(vae, toys.pictures(0, 20)[:, :, 0])
    vae.register_to_config(latents_std=[0.5 + 0.25 * i for i in range(config.z_dim)])
    return vae


@pytest.mark.parametrize("config", [toys.LINEAR_VAE, WITHOUT_PATCHES], ids=["patches", "no patches"])
def test_it_says_what_the_encoder_says(config: VaeSection) -> None:
    vae = linear_vae(config)
    codec = quick_codec(vae)
    assert isinstance(codec, BlockCodec)
    clips = toys.pictures(0, 1, frames=9)[:, :, :, :, :24]  # higher than wide, so that the two cannot be mixed up
    known = clips.clone()
    known[:, :, 1:] = 0
    for part in (clips, known, clips[:, :, :1]):
        torch.testing.assert_close(codec.encode(part), LatentCodec(vae).encode(part), atol=1e-5, rtol=1e-5)
    assert codec.frames_encoded == 3 * 9 * 2 + 3
    assert torch.equal(codec.encode_keyframe(clips[0, :, 4]), codec.encode(clips[:1, :, 4:5]))


def test_it_is_found_after_stills_were_quickened_and_slicing_turned_on() -> None:
    vae = linear_vae()
    quicken_stills(vae)
    vae.enable_slicing()
    assert isinstance(quick_codec(vae), BlockCodec)


@pytest.mark.parametrize(
    "path",
    [
        "encoder.conv_in",
        "encoder.down_blocks.0.conv2",
        "encoder.down_blocks.1.resample.1",
        "encoder.down_blocks.1.time_conv",
        "encoder.mid_block.resnets.1.conv2",
        "encoder.mid_block.attentions.0.proj",
        "encoder.conv_out",
    ],
)
def test_an_encoder_that_learned_a_little_is_another_one(path: str) -> None:
    vae = linear_vae()
    with torch.no_grad():
        vae.get_submodule(path).weight[0].add_(0.01)
    assert find_block_code(vae) is None
    assert type(quick_codec(vae)) is LatentCodec


def test_a_random_encoder_is_another_one() -> None:
    torch.manual_seed(1)
    vae = build_vae(VaeSection(base_dim=8, z_dim=4, dim_mult=(1, 2, 2), temporal_downsample=(True, True)))
    with torch.no_grad():  # not only because of what its last convolution looks at
        weight = vae.encoder.conv_out.weight
        weight[:, :, :-1] = weight[:, :, :, [0, 2]] = weight[:, :, :, :, [0, 2]] = 0
    assert find_block_code(vae) is None
