"""A VAE is trained on all of a folder, and holds a part of it in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

from storymem.training.footage import FootageClip, FootageSource
from storymem.training.run import train
from storymem.training.sections import DataSection
from storymem.training.store import GroupStore
from storymem.training.vae import PixelLoader

GROUPS = (2, 1, 3, 2, 1, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six groups of plain clips, each of another grey."""
    root = tmp_path_factory.mktemp("footage") / "prepared"
    clips = []
    for group, count in enumerate(GROUPS):
        for number in range(count):
            grey = -0.9 + 0.3 * group + 0.05 * number
            clip = FootageClip(f"clip-{group}-{number}", group, "a.mp4", 0, 4, None)
            clips.append((clip, np.full((5, 3, 32, 32), grey, dtype=np.float32)))
    toys.write_footage(root, clips)
    return root


def config(folder: Path, output: Path, *overrides: str) -> Any:
    given = ("steps=12", "checkpoint_every=5", *overrides)
    return toys.on_footage(toys.VAE, folder, output, *given, data="pool: 2")


def test_all_of_a_folder_is_trained_on(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []
    group = FootageSource.group

    def record(self: FootageSource, index: int) -> Any:
        drawn.append(index)
        return group(self, index)

    monkeypatch.setattr(FootageSource, "group", record)
    linear = ("vae.init=linear", "vae.freeze_encoder=true", "vae.base_dim=12", "vae.dim_mult=[1,1,2]")
    train(config(folder, tmp_path, *linear))
    assert set(drawn) == set(range(len(GROUPS)))  # `data.pool` is 2
    assert len(drawn) < 2 + 12 * 2  # the start of the code, and what is in memory is not read again


def test_a_run_on_a_folder_resumes_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    def stop(record: Mapping[str, Any]) -> None:
        if record["step"] == 9:
            raise Stopped

    train(config(folder, tmp_path / "whole"))
    with pytest.raises(Stopped):
        train(config(folder, tmp_path / "parts"), on_record=stop)
    train(config(folder, tmp_path / "parts"))
    assert toys.losses(tmp_path / "parts") == toys.losses(tmp_path / "whole")
    assert len(set(toys.losses(tmp_path / "whole"))) == 12
    weights = [
        (tmp_path / name / "vae" / "diffusion_pytorch_model.safetensors").read_bytes() for name in ("whole", "parts")
    ]
    assert weights[0] == weights[1]


def asked(loader: PixelLoader, source: toys.Squares, groups: Sequence[int]) -> list[int]:
    before = len(source.drawn)
    for index in groups:
        loader.load(index)
    return source.drawn[before:]


def test_the_groups_asked_for_last_stay_in_memory() -> None:
    source = toys.Squares(16, 16, 1, {"groups": 9})
    loader = PixelLoader(source, keep=2)
    assert asked(loader, source, [0, 1, 0, 1, 0]) == [0, 1]
    assert asked(loader, source, [2, 0, 1]) == [2, 1]  # 1 was asked for before 0
    assert len(loader._kept) == 2
    for index, (clip, again) in enumerate(zip(loader.load(1), PixelLoader(source).load(1), strict=True)):
        assert clip.equal(again), index
    assert asked(PixelLoader(source), source, [0, 0]) == [0, 0]  # without, it is the store that holds groups


def test_what_is_measured_comes_from_all_over_a_folder(folder: Path) -> None:
    source = FootageSource(folder, 32, 32, 5)

    def store(**data: Any) -> GroupStore[Any]:
        section = DataSection(folder=folder, width=32, height=32, num_frames=5, **data)
        return GroupStore(PixelLoader(source), section, windowed=False)

    assert store(pool=9).spread(0, 99) == (0, 1, 2, 3, 4, 5)
    assert store(pool=9).spread(0, 4) == (0, 3)  # of 11 clips
    assert store(pool=2).spread(0, 99) == (0, 3)
    world = DataSection(world="squares", width=32, height=32, num_frames=5, pool=4)
    window = GroupStore(PixelLoader(toys.Squares(32, 32, 5, {})), world, windowed=True)
    assert window.spread(0, 1) == window.window(0) == (0, 1, 2, 3)
