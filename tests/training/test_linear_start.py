"""A VAE that begins as a linear code, pictures in two dimensions, and weights to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
import toys
from safetensors.torch import load_file
from toys import pictures, vae_of

from storymem.conditioning.codec import LatentCodec
from storymem.errors import SettingsError
from storymem.training.linear_start import start_linear
from storymem.training.network_sections import VaeSection
from storymem.training.networks import build_vae
from storymem.training.run import train
from storymem.training.stills import quicken_stills
from storymem.training.vae import Autoencoder, VaeTask


@pytest.fixture(scope="module")
def linear() -> object:
    torch.manual_seed(0)
    vae = build_vae(toys.LINEAR_VAE)
    start_linear(vae, pictures(0, 60)[:, :, 0])
    return vae


def blocks(frames: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.unfold(frames, 8, stride=8).transpose(1, 2).flatten(0, 1)


def test_codes_tell_blocks_as_well_as_principal_components(linear: object) -> None:
    fitted, unseen = pictures(0, 60)[:, :, 0], pictures(60, 90)[:, :, 0]
    codec = LatentCodec(linear)

    def rows(frames: torch.Tensor) -> torch.Tensor:
        codes = codec.encode(frames[:, :, None])[:, :, 0].permute(0, 2, 3, 1).flatten(0, 2)
        return torch.cat([codes, torch.ones(len(codes), 1)], dim=1)

    matrix = torch.linalg.lstsq(rows(fitted), blocks(fitted)).solution
    error = (rows(unseen) @ matrix - blocks(unseen)).square().mean()
    mean = blocks(fitted).mean(dim=0)
    directions = torch.pca_lowrank(blocks(fitted), q=8, center=True)[2]
    centred = blocks(unseen) - mean
    best = (centred @ directions @ directions.T - centred).square().mean()
    # Folding step by step loses a little; as much again would be a fault.
    assert error < 1.3 * best


def test_codes_are_of_mean_0_and_a_mean_square_of_1(linear: object) -> None:
    codes = LatentCodec(linear).encode(pictures(0, 60))
    assert codes.mean().abs() < 0.05
    assert codes.square().mean() == pytest.approx(1, abs=0.1)
    spread = codes.std(dim=(0, 2, 3, 4))
    assert torch.all(spread[:-1] > 0.95 * spread[1:])  # strongest first, and not whitened
    assert spread[0] > 1.5 * spread[-1]


def test_every_latent_frame_is_that_of_its_last_frame_alone(linear: object) -> None:
    clips = pictures(0, 2, frames=9)
    codec = LatentCodec(linear)
    latents = codec.encode(clips)
    for place, frame in enumerate((0, 4, 8)):
        torch.testing.assert_close(latents[:, :, place], codec.encode(clips[:, :, frame : frame + 1])[:, :, 0])


def test_the_decoder_begins_without_time(linear: object) -> None:
    still = pictures(0, 1)
    latents = LatentCodec(linear).encode(still)
    once = LatentCodec(linear).decode(latents)
    thrice = LatentCodec(linear).decode(latents.repeat(1, 1, 3, 1, 1))
    torch.testing.assert_close(thrice, once.repeat(1, 1, 9, 1, 1), atol=1e-4, rtol=1e-4)


def test_a_narrow_encoder_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"at least 12 channels .* at least 33 \(8 and 32 here\)"):
        start_linear(build_vae(VaeSection(base_dim=8)), pictures(0, 1)[:, :, 0])


def test_single_frames_in_two_dimensions_are_the_same() -> None:
    torch.manual_seed(1)
    vae = build_vae(VaeSection(base_dim=8, z_dim=4, dim_mult=(1, 2, 2), temporal_downsample=(True, True)))
    keys = list(vae.state_dict())
    clips = pictures(0, 1, frames=5)
    before = [LatentCodec(vae).encode(part) for part in (clips, clips[:, :, :1])]
    decoded = [LatentCodec(vae).decode(part) for part in before]
    quicken_stills(vae)
    assert list(vae.state_dict()) == keys
    for part, latents, video in zip((clips, clips[:, :, :1]), before, decoded, strict=True):
        torch.testing.assert_close(LatentCodec(vae).encode(part), latents, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(LatentCodec(vae).decode(latents), video, atol=1e-5, rtol=1e-5)
    assert not torch.equal(before[0][:, :, 0], before[0][:, :, 1])
    # What a single frame does not need is not looked at.
    with torch.no_grad():
        vae.encoder.conv_in.weight[:, :, :-1] = float("nan")
    assert LatentCodec(vae).encode(clips[:, :, :1]).isfinite().all()
    assert not LatentCodec(vae).encode(clips).isfinite().all()


SIZES = ("vae.base_dim=12", "vae.decoder_base_dim=8", "vae.z_dim=4", "vae.dim_mult=[1,1,2]", "vae.freeze_encoder=true")


def test_new_weights_beside_weights_to_begin_with_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="init says how new weights are made, and start gives weights"):
        toys.stage(toys.VAE, tmp_path, "vae.init=linear", f"vae.start={tmp_path}")


def test_a_frozen_code_stays_through_two_runs(tmp_path: Path) -> None:
    train(toys.stage(toys.VAE, tmp_path / "a", *SIZES, "vae.init=linear", "data.num_frames=1", "steps=2"))
    start = f"vae.start={tmp_path / 'a' / 'vae'}"
    train(toys.stage(toys.VAE, tmp_path / "b", *SIZES, start, "steps=2"))
    first, second = (vae_of(tmp_path / n) for n in "ab")
    assert first is not None
    assert second is not None
    assert second.config.latents_mean == first.config.latents_mean == [0.0] * 4
    assert second.config.latents_std == [1.0] * 4
    frame = pictures(0, 1)
    torch.testing.assert_close(LatentCodec(first).encode(frame), LatentCodec(second).encode(frame))
    weights = [load_file(tmp_path / n / "vae" / "diffusion_pytorch_model.safetensors") for n in "ab"]
    for name, value in weights[0].items():
        if name.startswith("encoder."):
            assert torch.equal(value, weights[1][name]), name
    assert not torch.equal(weights[0]["decoder.conv_in.weight"], weights[1]["decoder.conv_in.weight"])


def test_models_are_given_channels_as_loud_as_asked(tmp_path: Path) -> None:
    scale = torch.tensor([2.0, 1.0, 0.5, 1.25])
    asked = f"vae.latent_scale={scale.tolist()}"
    for name, more in (("plain", ()), ("scaled", (asked,))):
        train(toys.stage(toys.VAE, tmp_path / name, *SIZES, "vae.init=linear", "data.num_frames=1", "steps=1", *more))
    start = f"vae.start={tmp_path / 'scaled' / 'vae'}"
    train(toys.stage(toys.VAE, tmp_path / "on", *SIZES, start, "steps=1"))
    train(toys.stage(toys.VAE, tmp_path / "twice", *SIZES, start, asked, "steps=1"))
    frame = pictures(0, 1)
    plain, scaled, on, twice = (vae_of(tmp_path / name) for name in ("plain", "scaled", "on", "twice"))
    latents = LatentCodec(plain).encode(frame)
    louder = LatentCodec(scaled).encode(frame)
    torch.testing.assert_close(louder, latents * scale.view(1, -1, 1, 1, 1))
    torch.testing.assert_close(LatentCodec(scaled).decode(louder), LatentCodec(plain).decode(latents))
    torch.testing.assert_close(LatentCodec(on).encode(frame), louder)
    torch.testing.assert_close(LatentCodec(twice).encode(frame), louder * scale.view(1, -1, 1, 1, 1))


def test_measured_channels_are_as_loud_as_asked(tmp_path: Path) -> None:
    for name, more in (("plain", ()), ("scaled", ("vae.latent_scale=[2,1,0.5,1]",))):
        train(toys.stage(toys.VAE, tmp_path / name, "vae.z_dim=4", "steps=1", *more))
    plain, scaled = (vae_of(tmp_path / name).config for name in ("plain", "scaled"))
    assert scaled.latents_mean == plain.latents_mean
    assert [a / b for a, b in zip(plain.latents_std, scaled.latents_std, strict=True)] == pytest.approx([2, 1, 0.5, 1])


@pytest.mark.parametrize(
    ("scale", "said"), [("[1,2]", "each of the 4 channels, not 2"), ("[1,1,0,1]", "greater than 0")]
)
def test_a_scale_that_does_not_fit_is_refused(tmp_path: Path, scale: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        toys.stage(toys.VAE, tmp_path, "vae.z_dim=4", f"vae.latent_scale={scale}")


def test_codes_are_damaged_as_strongly_as_asked_in_the_units_that_models_see() -> None:
    stage = toys.stage(toys.VAE, Path("unused"), *SIZES, "vae.init=linear", "loss.code_noise=0.4")
    vae = build_vae(stage.vae, z_std=(1.0, 2.0, 1.0, 0.5))
    task = VaeTask(stage, Autoencoder(vae), cast(Any, None), cast(Any, None))
    source = torch.Generator().manual_seed(0)
    drawn = torch.stack([task._damage((4, 1, 16, 16), source) for _ in range(400)])
    strengths = drawn.std(dim=(2, 3, 4))  # of each sample and channel
    assert strengths.mean(dim=0).tolist() == pytest.approx([0.2, 0.4, 0.2, 0.1], rel=0.1)
    assert strengths[:, 0].max() < 0.4 * 1.15
    assert strengths[:, 0].min() < 0.02


def test_a_decoder_is_shown_damaged_codes(tmp_path: Path) -> None:
    for name, noise in (("clean", 0.0), ("again", 0.0), ("damaged", 2.0)):
        asked = ("vae.init=linear", "data.num_frames=1", "steps=1", f"loss.code_noise={noise}")
        train(toys.stage(toys.VAE, tmp_path / name, *SIZES, *asked))
    clean, again, damaged = (toys.losses(tmp_path / name)[0] for name in ("clean", "again", "damaged"))
    assert clean == again
    assert abs(damaged - clean) > 1e-4


def test_a_random_code_is_not_frozen(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="freeze_encoder keeps a code that is there"):
        toys.stage(toys.VAE, tmp_path, "vae.freeze_encoder=true")


def test_a_start_of_another_shape_is_refused(tmp_path: Path) -> None:
    train(toys.stage(toys.VAE, tmp_path / "a", "steps=1"))
    with pytest.raises(SettingsError, match=r"start: the weights of .* do not fit the AutoencoderKLWan"):
        train(toys.stage(toys.VAE, tmp_path / "b", "vae.base_dim=16", f"vae.start={tmp_path / 'a' / 'vae'}"))


def test_a_base_begins_where_another_ended(small_model: Path, tmp_path: Path) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    asked = (f"vae={vae}", f"start={small_model}", "ema.decay=0", "optimizer.learning_rate=1e-9", "steps=1")
    train(toys.stage(toys.BASE, tmp_path, *asked))
    for part in ("transformer/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"):
        before, after = load_file(small_model / part), load_file(tmp_path / "model" / part)
        for name, value in before.items():
            torch.testing.assert_close(after[name], value, atol=1e-6, rtol=1e-5)
    tokenizers = [(folder / "tokenizer" / "tokenizer.json").read_text() for folder in (small_model, tmp_path / "model")]
    assert tokenizers[0] == tokenizers[1]
