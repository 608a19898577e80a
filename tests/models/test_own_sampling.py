from __future__ import annotations

import json
from pathlib import Path

import pytest

from storymem.errors import ModelError, SettingsError
from storymem.film.resolve import ModelRequest, resolve_model
from storymem.models.own_sampling import SAMPLING_FILE, laid_over, read_sampling, sampling_json

FIELDS = {"width": 112, "height": 64, "num_frames": 25, "num_inference_steps": 12, "guidance_scale": 3.0}


def test_a_folder_says_what_it_was_made_for(tmp_path: Path) -> None:
    assert read_sampling(tmp_path) == {}
    (tmp_path / SAMPLING_FILE).write_bytes(sampling_json(FIELDS))
    assert read_sampling(tmp_path) == FIELDS
    assert resolve_model(ModelRequest(str(tmp_path))).sampling == FIELDS


def test_only_what_can_be_sampled_is_written() -> None:
    with pytest.raises(SettingsError, match="width is 100"):
        sampling_json({"width": 100})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "the file: Invalid JSON"),
        (b"[1]", "the file: Input should be an object"),
        (json.dumps({"widht": 112}).encode(), "widht is no setting of sampling"),
        (json.dumps({"width": "112"}).encode(), "width: Input should be a valid integer"),
        (json.dumps({"width": 100}).encode(), "width is 100; it must be a multiple of 16"),
        (b"\xff\xfe\xff", "cannot be read"),
        (b" " * 100_000, "too large"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_place(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / SAMPLING_FILE).write_bytes(content)
    with pytest.raises(ModelError, match=words) as refused:
        read_sampling(tmp_path)
    assert str(tmp_path / SAMPLING_FILE) in str(refused.value)


def test_one_guidance_said_alone_is_that_of_both_experts() -> None:
    base = {"guidance_scale": 3.5, "guidance_scale_2": 3.0, "shift": 5.0}
    assert laid_over(base, {"guidance_scale": 1.0}) == {"guidance_scale": 1.0, "shift": 5.0}
    assert laid_over(base, {"guidance_scale_2": 2.0}) == {**base, "guidance_scale_2": 2.0}
    assert laid_over(base, {"guidance_scale": 1.0, "guidance_scale_2": 2.0, "shift": 4.0}) == {
        "guidance_scale": 1.0,
        "guidance_scale_2": 2.0,
        "shift": 4.0,
    }
