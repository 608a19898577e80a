"""Augmentation, tokenizer, averages, schedules, the window of an endless source, the command line."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import toys
from typer.testing import CliRunner

from storymem.conditioning.codec import LatentCodec
from storymem.errors import CheckpointError, SettingsError
from storymem.training.augment import augment, blur, jpeg, move
from storymem.training.ema import Ema
from storymem.training.encode import SourceLoader
from storymem.training.loop import learning_rate
from storymem.training.network_sections import TextEncoderSection, VaeSection
from storymem.training.networks import build_vae
from storymem.training.sections import AugmentSection, DataSection, OptimizerSection
from storymem.training.store import ClipStore
from storymem.training.subjects import latent_coverage
from storymem.training.text import PromptCache, build_tokenizer, embed_tokens, tokenize
from storymem.training.vae import Autoencoder, edge_error, psnr


def picture() -> torch.Tensor:
    x = torch.linspace(-1, 1, 40)
    return torch.stack([x.expand(24, 40), -x.expand(24, 40), torch.linspace(-1, 1, 24)[:, None].expand(24, 40)])


def test_moving_shifts_whole_pixels_and_repeats_the_edge() -> None:
    frame = picture()
    moved = move(frame, 3, -2)
    assert torch.equal(moved[:, :-2, 3:], frame[:, 2:, :-3])
    assert torch.equal(moved[:, 0, 0], frame[:, 2, 0])
    assert torch.equal(move(frame, 0, 0), frame)


def test_blur_keeps_the_mean_and_loses_the_detail() -> None:
    frame = torch.zeros(3, 21, 21)
    frame[:, 10, 10] = 1
    out = blur(frame, 1.2)
    assert out.sum().item() == pytest.approx(3, rel=1e-4)
    assert out[0, 10, 10] == pytest.approx(1 / (2 * np.pi * 1.44), rel=0.05)
    assert torch.equal(blur(frame, 0.05), frame)


def test_jpeg_is_near_at_high_quality_and_far_at_low() -> None:
    frame = picture()
    near, far = ((jpeg(frame, quality) - frame).abs().mean() for quality in (95, 5))
    assert near < 0.03 < far


def test_augmentation_is_bounded_and_repeatable() -> None:
    frame = picture()
    first, again, other = (augment(frame, AugmentSection(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.abs().max() <= 1
    assert 0.01 < (first - frame).abs().mean() < 0.3
    nothing = AugmentSection(noise=0, blur=0, shift=0, colour=0, jpeg=(100, 100))
    assert (augment(frame, nothing, np.random.default_rng(0)) - frame).abs().mean() < 0.02


def test_the_tokenizer_knows_its_captions_and_every_text() -> None:
    captions = [f"A {colour} fox at {place}." for colour in ("red", "blue") for place in ("night", "day")] * 4
    tokenizer = build_tokenizer(captions, TextEncoderSection(vocabulary=320, max_tokens=12))
    ids, mask = tokenize(tokenizer, ["A red fox at night.", "", "Ein Löwe 🦁 und vieles, was nicht passt."])
    assert ids.shape == mask.shape == (3, 12)
    assert mask[0].sum() < 12
    assert mask[1].sum() == 1
    assert ids[1, 0] == tokenizer.eos_token_id == 1
    assert tokenizer.pad_token_id == 0
    assert mask[2].sum() == 12
    assert tokenizer.decode(ids[0], skip_special_tokens=True).strip() == "A red fox at night."
    assert 2 not in ids  # nothing is unknown


def test_prompts_are_kept_on_disk_and_embedded_once(tmp_path: Path) -> None:
    from storymem.models.checkpoints import load_components

    parts = load_components(toys.CHECKPOINT, only=["text_encoder", "tokenizer"])
    assert parts.text_encoder is not None
    assert parts.tokenizer is not None
    cache = PromptCache(parts.tokenizer, parts.text_encoder, "cpu", folder=tmp_path)
    cache.fill(["a fox", "", "a fox"])
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    fresh = PromptCache(parts.tokenizer, parts.text_encoder, "cpu", folder=tmp_path)
    fresh.release()
    ids, mask = tokenize(parts.tokenizer, ["a fox", ""])
    with torch.no_grad():
        expected = embed_tokens(parts.text_encoder, ids, mask)
    torch.testing.assert_close(fresh(["a fox", ""]), expected, atol=1e-6, rtol=1e-5)
    with pytest.raises(AssertionError, match="'a hen' was not embedded"):
        fresh(["a hen"])
    for path in tmp_path.rglob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:-3])
    damaged = PromptCache(parts.tokenizer, parts.text_encoder, "cpu", folder=tmp_path)
    with pytest.raises(CheckpointError, match=r"\.safetensors: cannot be read .* remove it and it will be made again"):
        damaged(["a fox"])


def test_the_average_follows_and_can_be_put_in_place() -> None:
    parameter = torch.nn.Parameter(torch.zeros(2))
    ema = Ema({"p": parameter}, 0.9)
    for step in range(200):
        parameter.data.fill_(1.0)
        ema.update(step)
    assert ema.average["p"][0].item() == pytest.approx(1, abs=1e-4)
    parameter.data.fill_(5.0)
    with ema.applied():
        assert parameter[0].item() == pytest.approx(1, abs=1e-4)
    assert parameter.tolist() == [5, 5]
    early = Ema({"p": torch.nn.Parameter(torch.zeros(1))}, 0.999)
    early.parameters["p"].data.fill_(1.0)
    early.update(0)
    assert early.average["p"].item() == pytest.approx(0.9)  # 1 - 1 / 10


def test_learning_rates() -> None:
    config = OptimizerSection(learning_rate=1.0, warmup_steps=10, schedule="cosine", final_ratio=0.1)
    rates = [learning_rate(step, 110, config) for step in range(111)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.55)
    assert rates[110] == pytest.approx(0.1)
    assert all(a >= b for a, b in pairwise(rates[10:]))
    linear = OptimizerSection(learning_rate=1.0, schedule="linear")
    assert learning_rate(25, 100, linear) == pytest.approx(0.75)
    assert learning_rate(99, 100, OptimizerSection(learning_rate=1.0)) == 1.0


def test_a_world_is_seen_through_a_window_that_moves(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = build_vae(VaeSection(base_dim=8, z_dim=4, dim_mult=(1, 1, 1), temporal_downsample=(True, True)))
    source = toys.Squares(32, 32, 5, {"groups": 12})
    loader = SourceLoader(
        source, LatentCodec(vae), seed=0, known=(1,), keyframes=2, variants=1, config=AugmentSection()
    )
    data = DataSection(world="squares", width=32, height=32, num_frames=5, pool=4, refresh=0.5, held_out=3)
    store = ClipStore(loader, data, windowed=True)
    assert store.held_out == (9, 10, 11)
    assert store.window(0) == store.window(1) == (0, 1, 2, 3)
    assert store.window(4) == (2, 3, 4, 5)
    assert store.window(16) == (8, 0, 1, 2)  # round again, never into what is held out
    later = ClipStore(loader, data.model_copy(update={"first": 7}), windowed=True)
    assert later.window(0) == (7, 8, 0, 1)
    assert later.window(2) == (8, 0, 1, 2)
    with pytest.raises(SettingsError, match=r"data\.first is 9, but there are 9 groups to train on, counted"):
        ClipStore(loader, data.model_copy(update={"first": 9}), windowed=True)
    for step in range(5):
        store.prepare(step)
    assert source.drawn == [0, 1, 2, 3, 4, 5]  # each once
    clip = store.clips(2)[1]
    assert clip.latents.shape == (4, 2, 4, 4)
    assert clip.keyframes.shape == (2, 2, 4, 4, 4)
    # What is encoded is what the codec gives for one clip alone.
    frames = source.group(2)[1].frames
    codec = LatentCodec(vae)
    torch.testing.assert_close(clip.latents, codec.encode(frames[None])[0], atol=1e-5, rtol=1e-4)
    expected = codec.encode_known(frames[:, :1], 5, 32, 32)[0]
    torch.testing.assert_close(clip.known(1), expected, atol=1e-5, rtol=1e-4)
    alone = [codec.encode_keyframe(frames[:, i])[0, :, 0] for i in range(5)]
    for slot in range(2):
        assert min((clip.keyframes[slot, 0] - other).abs().max().item() for other in alone) < 1e-4
    assert not torch.equal(clip.keyframes[0, 0], clip.keyframes[0, 1])


def test_the_autoencoder_is_the_one_that_the_codec_runs() -> None:
    torch.manual_seed(0)
    vae = build_vae(VaeSection(base_dim=8, z_dim=4))
    assert vae.config.scale_factor_spatial == 16
    pixels = torch.rand(2, 3, 5, 32, 32) * 2 - 1
    out, mean, _ = Autoencoder(vae)(pixels, None)
    codec = LatentCodec(vae)
    torch.testing.assert_close(mean, codec.encode(pixels), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(out.clamp(-1, 1), codec.decode(mean.detach()), atol=1e-5, rtol=1e-4)
    out.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in vae.named_parameters() if "weight" in n)


def test_edges_and_psnr() -> None:
    target = torch.zeros(1, 3, 1, 8, 8)
    assert edge_error(target + 0.5, target) == 0  # a flat difference has no edges
    striped = target.clone()
    striped[..., ::2] = 1
    assert edge_error(striped, target) > 0.2
    assert psnr(target + 0.2, target) == pytest.approx(20, abs=1e-3)
    assert psnr(target + 9, target) == pytest.approx(6.0206, abs=1e-3)  # clipped to 1


def test_the_command_line_trains_and_says_so(small_model: Path, tmp_path: Path) -> None:
    from storymem.cli.app import app

    path = tmp_path / "run.yaml"
    path.write_text(toys.MEMORY + f"model: {small_model}\noutput: {tmp_path / 'out'}\n")
    done = CliRunner().invoke(app, ["train", str(path), "--set", "steps=2", "--json"])
    assert done.exit_code == 0, done.output
    assert [json.loads(line)["step"] for line in done.output.splitlines() if line.startswith("{")] == [1, 2]
    plain = CliRunner().invoke(app, ["train", str(path), "--set", "steps=3"])
    assert "model 3: loss" in plain.output
    assert str(tmp_path / "out" / "lora") in plain.output.replace("\n", "")


def test_masks_of_latent_pixels_miss_nothing_that_moves() -> None:
    masks = torch.zeros(2, 9, 32, 48)
    masks[0, 0, :8, :8] = 1
    masks[0, 1, 8:16, :4] = 1  # half a latent pixel, in the first of the four frames of latent frame 1
    masks[1, 4, 8:16, 16:24] = 1
    masks[1, 8, 24:, 40:] = 0.25
    latent = latent_coverage(masks, 4, 8)
    assert tuple(latent.shape) == (2, 3, 4, 6)
    expected = torch.zeros(2, 3, 4, 6)
    expected[0, 0, 0, 0], expected[0, 1, 1, 0], expected[1, 1, 1, 2], expected[1, 2, 3, 5] = 1, 0.5, 1, 0.25
    assert torch.equal(latent, expected)
    assert torch.equal(latent_coverage(masks[:, :1], 4, 8), expected[:, :1])


def test_storyland_is_a_source_of_clips() -> None:
    from storymem.cli.train import register_worlds
    from storymem.errors import SettingsError
    from storymem.training.clips import open_source

    register_worlds()
    source = open_source("storyland", 64, 32, 5, {"clips": 4, "groups": 10})
    assert (len(source), source.size(3)) == (10, 4)
    clips = source.group(3)
    assert [tuple(clip.frames.shape) for clip in clips] == [(3, 5, 32, 64)] * 4
    assert all(len(clip.captions) == 2 for clip in clips)
    assert torch.equal(clips[0].frames, source.group(3)[0].frames)
    assert 1 <= len(source.subjects(3, 0)) <= 2
    assert all(set(clips) <= {1, 2, 3} for clips in source.subjects(3, 0))
    for number, clip in enumerate(clips):
        assert clip.subjects is not None
        count = len(source.subjects(3, number))
        assert tuple(clip.subjects.masks.shape) == (count, 5, 32, 64)
        assert 0 < float(clip.subjects.masks.mean()) < 1
        assert tuple(clip.subjects.labels.shape) == (count, len(source.classes))
        assert (clip.subjects.labels < torch.tensor(source.classes)).all()
    assert len(source.captions(6)) == 6
    with pytest.raises(SettingsError, match=r"data\.options\.colour.*storyland knows split"):
        open_source("storyland", 64, 32, 5, {"colour": 1})
