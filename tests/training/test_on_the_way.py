"""What a run takes from its footage without being told, and what it says where memory runs out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
import toys

from storymem.errors import ModelError
from storymem.film.resolve import ModelRequest, resolve_model
from storymem.training.clips import Clip, register_source
from storymem.training.config import parse_config
from storymem.training.footage import FootageClip
from storymem.training.run import train

FOOTAGE = "stage: memory\noutput: out\nsteps: 1\nmodel: m\ndata: {folder: '%s'%s}\n"


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four clips at 8 frames per second."""
    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("footage") / "prepared"
    clips = [FootageClip(f"c{n}", n // 2, "a.mp4", 0, 4, None, (f"Square {n}.",)) for n in range(4)]
    toys.write_footage(folder, ((clip, rng.uniform(-1, 1, (5, 3, 32, 32)).astype(np.float32)) for clip in clips))
    return folder


def size_of(text: str, *overrides: str) -> tuple[int, int, int]:
    data = parse_config(text, "test.yaml", overrides).data
    return data.width, data.height, data.num_frames


def test_clips_are_as_they_were_prepared_unless_it_is_said(footage: Path, tmp_path: Path) -> None:
    assert size_of(FOOTAGE % (footage, "")) == (32, 32, 5)
    assert size_of(FOOTAGE % (footage, ", width: 16, num_frames: 1")) == (16, 32, 1)
    assert size_of(FOOTAGE % ("nowhere", ""), f"data.folder={footage}", "data.height=48") == (32, 48, 5)
    for folder in ("nowhere", tmp_path):  # it is told when the folder is opened
        (tmp_path / "prepare.json").write_text("{")
        assert size_of(FOOTAGE % (folder, "")) == (224, 128, 17)
    assert size_of(FOOTAGE.replace("folder", "world") % ("storyland", "")) == (224, 128, 17)


@pytest.mark.parametrize("stage", ["base", "full"])
def test_a_model_knows_the_rate_of_its_footage(footage: Path, small_model: Path, tmp_path: Path, stage: str) -> None:
    if stage == "base":
        text, given = toys.BASE, (f"vae={small_model.parents[1]}/vae/vae",)
    else:
        text, given = toys.MEMORY, (f"model={small_model}", "train=full")
    config = toys.on_footage(text, footage, tmp_path, "steps=1", *given, data="keyframes_per_clip: 4")
    train(config)
    assert json.loads((tmp_path / "model" / "sampling.json").read_text())["fps"] == 8
    assert resolve_model(ModelRequest(str(tmp_path / "model"))).sampling["fps"] == 8
    assert "fps" not in json.loads((small_model / "sampling.json").read_text())  # of a world


def too_much_of_torch() -> None:
    torch.empty(2**50)


def too_much_of_numpy() -> None:
    np.empty(2**50)


def too_much_of_an_accelerator() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB.")


def no_lack_of_memory() -> None:
    raise RuntimeError("shapes cannot be multiplied")


class Greedy(toys.Squares):
    """Wants more than there is as soon as something is to be drawn."""

    want: Callable[[], None]

    def group(self, index: int) -> Sequence[Clip]:
        type(self).want()
        return super().group(index)


register_source("greedy", Greedy)


def run(model: Path, output: Path, want: Callable[[], None], *overrides: str) -> None:
    Greedy.want = staticmethod(want)  # type: ignore[assignment]
    train(toys.stage(toys.MEMORY, output, f"model={model}", "data.world=greedy", *overrides))


@pytest.mark.parametrize("want", [too_much_of_torch, too_much_of_numpy, too_much_of_an_accelerator])
def test_memory_that_runs_out_is_told_with_what_helps(
    small_model: Path, tmp_path: Path, want: Callable[[], None]
) -> None:
    with pytest.raises(ModelError, match="memory ran out in training: try, one after the other: raise accu") as error:
        run(small_model, tmp_path, want)
    assert error.value.exit_code == 2
    for help_ in (
        "so that fewer than 4 clips are computed at a time; set runtime.gradient_checkpointing: true; runtime.fsdp",
        "runtime.base_dtype: bfloat16; smaller or shorter clips than data's 32x32 with 5 frames",
    ):
        assert help_ in str(error.value)
    done = ("accumulate=4", "runtime.gradient_checkpointing=true", "runtime.precision=bfloat16")
    with pytest.raises(ModelError) as error:
        run(small_model, tmp_path, want, *done)
    for name in ("accumulate", "gradient_checkpointing", "runtime.precision"):
        assert name not in str(error.value)
    with pytest.raises(ModelError) as error:
        train(toys.stage(toys.VAE, tmp_path / "vae", "data.world=greedy"))
    assert "fsdp" not in str(error.value)


def test_other_errors_are_not_taken_for_it(small_model: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="cannot be multiplied") as error:
        run(small_model, tmp_path, no_lack_of_memory)
    assert not isinstance(error.value, ModelError)
