from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from storymem.errors import ModelError
from storymem.models.check import check_files, check_lora, check_model, check_part, looks_like_lora
from storymem.models.layouts import COMPONENTS
from storymem.models.tiny import make_tiny


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "model"))


def test_a_whole_model(checkpoint: Path, tmp_path: Path) -> None:
    rows = check_model(checkpoint)
    assert [row.part for row in rows] == list(COMPONENTS)
    assert not any(row.problem for row in rows)
    assert all(row.size > 0 and row.detail for row in rows)
    assert rows[0].detail == "0.45 million parameters, F32"
    make_tiny(tmp_path / "tiny")
    assert not any(row.problem for row in check_model(tmp_path / "tiny"))


def test_nothing_is_loaded(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a tensor was read")

    monkeypatch.setattr("storymem.models.weights.SafetensorsSource.read", refuse)
    monkeypatch.setattr("storymem.models.weights.PickledSource.read", refuse)
    assert not any(row.problem for row in check_model(checkpoint))


def test_every_problem_is_shown_not_only_the_first(copied: Path) -> None:
    (copied / "Wan2.1_VAE.pth").write_bytes((copied / "Wan2.1_VAE.pth").read_bytes()[:-1000])
    shutil.rmtree(copied / "google")
    low = copied / "low_noise_model" / "diffusion_pytorch_model.safetensors"
    save_file({"a": torch.zeros(1)}, low)
    problems = {row.part: row.problem for row in check_model(copied) if row.problem}
    assert set(problems) == {"vae", "tokenizer", "transformer_2"}
    assert "download it" in problems["vae"]
    assert "google/umt5-xxl/" in problems["tokenizer"]
    assert str(low) in problems["transformer_2"]


def test_what_is_no_model_at_all(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="looked for a diffusers folder"):
        check_model(tmp_path)


def test_loras(lora_folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    rows = check_lora(lora_folder, model=checkpoint)
    assert [row.part for row in rows] == ["lora high", "lora low"]
    assert [row.detail for row in rows] == ["30 layers, rank 8, scale alpha / sqrt(rank)"] * 2
    make_tiny(tmp_path / "tiny")
    rows = check_lora(lora_folder, model=tmp_path / "tiny")
    assert all("blocks.2." in row.problem for row in rows)  # the tiny model has two blocks
    (tmp_path / "high.safetensors").write_bytes(b"")
    (row,) = check_lora(tmp_path / "high.safetensors")
    assert "high.safetensors" in row.problem


def test_telling_loras_from_models(lora_folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    assert looks_like_lora(lora_folder)
    assert looks_like_lora(lora_folder / "backbone_low_noise.safetensors")
    assert not looks_like_lora(checkpoint)
    assert not looks_like_lora(checkpoint / "Wan2.1_VAE.pth")
    assert not looks_like_lora(tmp_path)


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("high_noise_model/diffusion_pytorch_model.safetensors", "transformer"),
        ("Wan2.1_VAE.pth", "vae"),
        ("models_t5_umt5-xxl-enc-bf16.pth", "text_encoder"),
    ],
)
def test_single_files_are_known_by_their_keys(checkpoint: Path, file: str, part: str) -> None:
    (row,) = check_part(checkpoint / file)
    assert row.part == part
    assert bool(row.problem) == (part == "transformer")  # 96 channels: how many heads, no file says


def test_a_single_file_of_something_else(tmp_path: Path) -> None:
    save_file({"unet.a": torch.zeros(1)}, tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"its keys begin with unet\.a"):
        check_part(tmp_path / "a.safetensors")


def test_weights_that_other_libraries_load(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "model-1.safetensors")
    save_file({"a": torch.zeros(99)}, tmp_path / "model-2.safetensors")
    assert [row.detail for row in check_files(tmp_path)] == ["1 tensors", "1 tensors"]
    (tmp_path / "model-2.safetensors").write_bytes(b"1234")
    assert [bool(row.problem) for row in check_files(tmp_path)] == [False, True]
    with pytest.raises(ModelError, match="no weights there"):
        check_files(tmp_path.parent)
