"""Groups that other processes make ahead are the groups that would have been made in between."""

from __future__ import annotations

import multiprocessing
import os
import signal
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import toys
from safetensors.torch import load_file

from storymem.errors import SettingsError, StoryMemError
from storymem.training.ahead import DrawnAhead
from storymem.training.block_code import quick_codec
from storymem.training.encode import ResidentClip, SourceLoader
from storymem.training.networks import build_vae
from storymem.training.run import train
from storymem.training.sections import AugmentSection
from storymem.training.subjects import LatentSubjects


def loader(keyframes: int = 2) -> SourceLoader:
    torch.manual_seed(0)
    return SourceLoader(
        toys.Squares(32, 32, 5, {"groups": 9, "subjects": True}),
        quick_codec(build_vae(toys.LINEAR_VAE)),
        seed=3,
        known=(1, 5),
        keyframes=keyframes,
        variants=1,
        config=AugmentSection(),
        dtype=torch.bfloat16,
    )


def ahead(workers: int = 1, keyframes: int = 2) -> DrawnAhead:
    return DrawnAhead(loader(keyframes), loader(keyframes), workers, ordered=7)


def tensors(clip: ResidentClip) -> list[torch.Tensor]:
    out = [clip.latents, clip.keyframes, *(clip.conditions[count] for count in sorted(clip.conditions))]
    return out + [getattr(clip.subjects, field.name) for field in fields(LatentSubjects)]


def same_group(ours: tuple[ResidentClip, ...], theirs: tuple[ResidentClip, ...]) -> None:
    assert [clip.captions for clip in ours] == [clip.captions for clip in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert sorted(one.conditions) == sorted(other.conditions) == [1, 5]
        assert one.subjects is not None
        for a, b in zip(tensors(one), tensors(other), strict=True):
            assert a.dtype == b.dtype
            torch.testing.assert_close(a, b, rtol=0.01, atol=1e-6)  # a bit of bfloat16


def test_they_are_the_same_groups_made_elsewhere() -> None:
    """In order around the end, then elsewhere; held-out ones are made here, at any time."""
    here, there = loader(), ahead(2)
    source, state = there.loader.source, torch.random.get_rng_state()
    assert isinstance(source, toys.Squares)
    for index in (5, 6, 0, 1, 3, 4):
        same_group(there.load(index), here.load(index))
    assert source.drawn == []
    for index in (8, 5, 7):
        same_group(there.load(index), here.load(index))
    assert source.drawn == [8, 7]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert (len(there), there.size(0), there.subjects(0, 1)) == (9, 3, here.subjects(0, 1))
    torch.testing.assert_close(there.blank, here.blank)


def test_a_mistake_is_told_as_it_would_be_here() -> None:
    there = ahead(keyframes=6)
    with pytest.raises(SettingsError, match=r"^data.keyframes_per_clip is 6, but a clip has 5 frames: lower the one"):
        there.load(0)


def test_a_process_that_is_killed_is_told() -> None:
    there = ahead()
    there.load(0)
    assert multiprocessing.active_children()
    for process in multiprocessing.active_children():
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)

    def the_rest() -> None:
        for index in range(1, 7):
            there.load(index)

    with pytest.raises(StoryMemError, match=r"^A process that draws clips ended .* Lower runtime.workers"):
        the_rest()


def test_a_run_learns_the_same_with_them(small_model: Path, tmp_path: Path) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    beside: dict[str, set[int | None]] = {"without": set(), "with": set()}
    before = {process.pid for process in multiprocessing.active_children()}
    for name, workers in (("without", 0), ("with", 2)):
        config = toys.stage(
            toys.BASE, tmp_path / name, f"vae={vae}", "data.refresh=1.5", "steps=6", f"runtime.workers={workers}"
        )
        seen = beside[name]
        train(config, on_record=lambda _, seen=seen: seen.update(p.pid for p in multiprocessing.active_children()))
    assert not beside["without"] - before
    assert len(beside["with"] - before) == 2
    assert toys.losses(tmp_path / "with") == pytest.approx(toys.losses(tmp_path / "without"), rel=1e-5)
    ours, theirs = (load_file(file) for file in sorted(tmp_path.glob("*/model/transformer/*.safetensors")))
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=1e-3, atol=1e-4)
