from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from storymem.errors import ModelError
from storymem.models.fingerprint import FULL_UP_TO, file_identity, lora_identity, model_identity


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "elsewhere" / "model"))


def test_a_copy_elsewhere_is_the_same_model(checkpoint: Path, copied: Path) -> None:
    assert model_identity(copied) == model_identity(checkpoint)
    assert len(model_identity(copied)) == 64


def test_files_beside_the_weights_do_not_matter(checkpoint: Path, copied: Path) -> None:
    (copied / "README.md").write_text("hello")
    (copied / "high_noise_model" / "notes.txt").write_text("hello")
    assert model_identity(copied) == model_identity(checkpoint)


@pytest.mark.parametrize(
    "file",
    [
        "high_noise_model/diffusion_pytorch_model.safetensors",
        "low_noise_model/config.json",
        "Wan2.1_VAE.pth",
        "models_t5_umt5-xxl-enc-bf16.pth",
        "google/umt5-xxl/tokenizer.json",
    ],
)
def test_one_changed_byte_is_another_model(checkpoint: Path, copied: Path, file: str) -> None:
    data = bytearray((copied / file).read_bytes())
    data[len(data) // 2] ^= 1
    (copied / file).write_bytes(data)
    assert model_identity(copied) != model_identity(checkpoint)


def test_exchanged_experts_are_another_model(checkpoint: Path, copied: Path) -> None:
    (copied / "high_noise_model").rename(copied / "x")
    (copied / "low_noise_model").rename(copied / "high_noise_model")
    (copied / "x").rename(copied / "low_noise_model")
    assert model_identity(copied) != model_identity(checkpoint)


def test_a_file_laid_over_the_folder_counts(checkpoint: Path, copied: Path) -> None:
    other = copied / "low_noise_model" / "diffusion_pytorch_model.safetensors"
    assert model_identity(checkpoint, files={"transformer": other}) != model_identity(checkpoint)


def test_a_missing_part_is_said(copied: Path) -> None:
    (copied / "Wan2.1_VAE.pth").unlink()
    with pytest.raises(ModelError, match="vae cannot be found"):
        model_identity(copied)


def test_loras(lora_folder: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(lora_folder, tmp_path / "lora"))
    assert lora_identity(copied) == lora_identity(lora_folder)
    one = lora_identity(copied / "backbone_high_noise.safetensors")
    assert one not in (lora_identity(copied), lora_identity(copied / "backbone_low_noise.safetensors"))
    (copied / "adapter_config.json").write_text('{"lora_alpha": 4}')
    assert lora_identity(copied) != lora_identity(lora_folder)


def test_large_files_are_sampled_from_end_to_end(tmp_path: Path) -> None:
    file = tmp_path / "large"
    size = FULL_UP_TO + 5_000_000
    with file.open("wb") as out:
        out.truncate(size)  # sparse: takes no room
    before = file_identity(file)
    seen = []
    # The start, the end, and the start of the 32nd of the 64 blocks.
    for place in (0, (size - 2**20) * 31 // 63, size - 1):
        with file.open("r+b") as out:
            out.seek(place)
            out.write(b"x")
        seen.append(file_identity(file))
    with file.open("ab") as out:
        out.write(b"\0")
    assert len({before, *seen, file_identity(file)}) == 5


def test_small_files_are_hashed_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(b"\0")
    assert file_identity(tmp_path / "a") != file_identity(tmp_path / "b")
    with pytest.raises(ModelError, match="cannot be read"):
        file_identity(tmp_path / "c")
