"""A run that was stopped goes on to the very numbers of one that was not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from safetensors.torch import load_file

from storymem.errors import CheckpointError, FilmLockedError, SettingsError
from storymem.training.run import train


class Stopped(Exception):
    """Stands for a kill."""


def stop_at(step: int, task: str = "") -> Any:
    def listener(record: Mapping[str, Any]) -> None:
        if record["step"] == step and record["task"].startswith(task):
            raise Stopped

    return listener


def same_files(a: Path, b: Path) -> None:
    names = sorted(path.relative_to(a) for path in a.rglob("*.safetensors"))
    assert names
    for name in names:
        ours, theirs = load_file(a / name), load_file(b / name)
        assert ours.keys() == theirs.keys()
        for key, value in ours.items():
            assert torch.equal(value, theirs[key]), (name, key)


@pytest.mark.parametrize("refresh", [0.0, 1.5])
def test_a_memory_run_resumes_bit_for_bit(small_model: Path, tmp_path: Path, refresh: float) -> None:
    def config(name: str) -> Any:
        return toys.stage(
            toys.MEMORY,
            tmp_path / name,
            f"model={small_model}",
            "steps=5",
            "lora.dropout=0.2",
            "accumulate=2",
            f"data.refresh={refresh}",
        )

    train(config("whole"))
    with pytest.raises(Stopped):
        train(config("parts"), on_record=stop_at(4))  # the last checkpoint is that of step 2
    assert len(toys.losses(tmp_path / "parts")) == 4
    train(config("parts"))
    assert toys.losses(tmp_path / "parts") == toys.losses(tmp_path / "whole")
    same_files(tmp_path / "whole" / "lora", tmp_path / "parts" / "lora")


def test_a_base_run_resumes_bit_for_bit_with_its_text_encoder(small_model: Path, tmp_path: Path) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    train(toys.stage(toys.BASE, tmp_path / "whole", f"vae={vae}", "optimizer.schedule=cosine"))
    with pytest.raises(Stopped):
        train(
            toys.stage(toys.BASE, tmp_path / "parts", f"vae={vae}", "optimizer.schedule=cosine"), on_record=stop_at(3)
        )
    train(toys.stage(toys.BASE, tmp_path / "parts", f"vae={vae}", "optimizer.schedule=cosine"))
    assert toys.losses(tmp_path / "parts") == toys.losses(tmp_path / "whole")
    same_files(tmp_path / "whole" / "model", tmp_path / "parts" / "model")


def test_a_vae_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    train(toys.stage(toys.VAE, tmp_path / "whole"))
    with pytest.raises(Stopped):
        train(toys.stage(toys.VAE, tmp_path / "parts"), on_record=stop_at(3))
    train(toys.stage(toys.VAE, tmp_path / "parts"))
    assert toys.losses(tmp_path / "parts") == toys.losses(tmp_path / "whole")
    same_files(tmp_path / "whole" / "vae", tmp_path / "parts" / "vae")


def test_the_second_expert_resumes_without_training_the_first_again(tmp_path: Path) -> None:
    config = toys.stage(toys.MEMORY, tmp_path, f"model={toys.CHECKPOINT}")
    with pytest.raises(Stopped):
        train(config, on_record=stop_at(3, "low"))
    seen: list[Mapping[str, Any]] = []
    train(config, on_record=seen.append)
    assert [(record["task"], record["step"]) for record in seen] == [("low", 3), ("low", 4)]
    assert (tmp_path / "lora" / "backbone_high_noise.safetensors").is_file()


def test_a_finished_run_is_finished(small_model: Path, tmp_path: Path) -> None:
    config = toys.stage(toys.MEMORY, tmp_path, f"model={small_model}")
    train(config)
    before = (tmp_path / "log.jsonl").read_text()
    seen: list[Mapping[str, Any]] = []
    train(config, on_record=seen.append)
    assert not seen
    assert (tmp_path / "log.jsonl").read_text() == before
    more = toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", "steps=6")
    train(more, on_record=seen.append)
    assert [record["step"] for record in seen] == [5, 6]


def test_a_longer_run_is_not_taken_for_a_shorter_one(small_model: Path, tmp_path: Path) -> None:
    train(toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", "steps=2"))
    shorter = toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", "steps=1")
    for accept_changes in (False, True):
        with pytest.raises(SettingsError, match=r"model-00000002: has made 2 steps already, and steps is 1: raise it"):
            train(shorter, accept_changes=accept_changes)


def test_two_runs_do_not_share_a_folder(small_model: Path, tmp_path: Path) -> None:
    def config(steps: int) -> Any:
        return toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", f"steps={steps}")

    seen: list[int] = []

    def listener(record: Mapping[str, Any]) -> None:
        seen.append(record["step"])
        with pytest.raises(FilmLockedError, match=r"process \d+ on .* is working in this folder: wait"):
            train(config(9), accept_changes=True)

    train(config(2), on_record=listener)
    assert seen == [1, 2]
    train(config(3))  # it is let go of


def test_changed_settings_are_not_mixed(small_model: Path, tmp_path: Path) -> None:
    train(toys.stage(toys.MEMORY, tmp_path, f"model={small_model}"))
    changed = toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", "steps=5", "optimizer.learning_rate=1e-3")
    with pytest.raises(SettingsError, match=r"optimizer\.learning_rate was 0\.002 and is 0\.001.*--accept-changes"):
        train(changed)
    train(changed, accept_changes=True)
    assert len(toys.losses(tmp_path)) == 5


def test_notes_are_json_where_gradients_stay_as_they_are(small_model: Path, tmp_path: Path) -> None:
    def config(steps: int) -> Any:
        return toys.stage(
            toys.MEMORY, tmp_path, f"model={small_model}", f"steps={steps}", "optimizer.max_grad_norm=.inf"
        )

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    train(config(1))
    state = tmp_path / "checkpoints" / "model-00000001" / "state.json"
    json.loads(state.read_text(), parse_constant=refuse)
    state.write_text(state.read_text().replace('"Infinity"', "Infinity"))  # as earlier versions wrote it
    train(config(2))


def test_checkpoints_are_whole_or_not_there(small_model: Path, tmp_path: Path) -> None:
    config = toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", "checkpoint_every=1", "keep_checkpoints=2")
    train(config)
    first = toys.losses(tmp_path)
    root = tmp_path / "checkpoints"
    assert sorted(path.name for path in root.iterdir()) == ["model-00000003", "model-00000004"]
    assert json.loads((root / "model-00000004" / "state.json").read_text())["step"] == 4
    # What a killed process left half done is no checkpoint, and is swept up.
    shutil.copytree(root / "model-00000004", root / ".making-model-00000005-1")
    (root / "model-00000004" / "optimizer.safetensors").write_bytes(b"cut")
    more = toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", "steps=5", "checkpoint_every=1")
    with pytest.raises(CheckpointError, match="model-00000004: cannot be read"):
        train(more)
    shutil.rmtree(root / "model-00000004")
    train(more)
    assert sorted(path.name for path in root.iterdir()) == ["model-00000004", "model-00000005"]
    assert toys.losses(tmp_path)[:4] == first
    assert len(toys.losses(tmp_path)) == 5


def test_batches_made_ahead_are_the_same(small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from storymem.training import stages
    from storymem.training.denoise import DenoisingTask

    def config(name: str) -> Any:
        every = ("accumulate=2", "data.refresh=1", "validation={every: 2, clips: 2, num_memory: 1}")
        return toys.stage(toys.MEMORY, tmp_path / name, f"model={small_model}", *every)

    train(config("behind"))

    def ahead(*args: Any, **kwargs: Any) -> DenoisingTask:
        task = DenoisingTask(*args, **kwargs, ahead=True)
        assert task._batches._thread is not None
        return task

    monkeypatch.setattr(stages, "DenoisingTask", ahead)
    train(config("ahead"))
    for name in ("loss", "validation/0.5/right"):
        assert toys.losses(tmp_path / "ahead", name) == toys.losses(tmp_path / "behind", name)
