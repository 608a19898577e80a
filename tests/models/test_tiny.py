from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from storymem.errors import StorageError
from storymem.models.checkpoints import load_components
from storymem.models.fingerprint import model_identity
from storymem.models.store import locate
from storymem.models.tiny import make_tiny, tiny_random


def test_it_is_made_once_and_is_small(home: Path) -> None:
    folder = tiny_random()
    assert folder.parent == home / "cache"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert tiny_random() == folder == locate("tiny-random")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 3e6
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # nothing half-made is left


def test_a_seed_means_the_same_weights(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_tiny(tmp_path / name, seed=seed)
    assert torch.equal(torch.rand(2), expected)
    assert model_identity(tmp_path / "a") == model_identity(tmp_path / "b") != model_identity(tmp_path / "c")


def test_the_experts_differ_and_it_can_be_given_memory(tmp_path: Path) -> None:
    make_tiny(tmp_path / "t")
    parts = load_components(tmp_path / "t")
    assert parts.transformer.config.in_channels == 36
    assert not torch.equal(parts.transformer.proj_out.weight, parts.transformer_2.proj_out.weight)
    assert not any(torch.isnan(p).any() for m in (parts.transformer, parts.vae) for p in m.parameters())


@pytest.mark.parametrize("text", ["a fox", "", "Höhle, 洞穴, 🦊", "line\nbreak\ttab", "</s> <pad>"])
def test_every_text_can_be_written_in_its_tokens(home: Path, text: str) -> None:
    tokenizer = load_components(tiny_random(), only={"tokenizer"}).tokenizer
    padded = tokenizer(text, padding="max_length", max_length=64, truncation=True)
    length = sum(padded.attention_mask)
    assert padded.input_ids[length - 1] == 1
    assert set(padded.input_ids[length:]) <= {0}
    assert 2 not in padded.input_ids
    if "<" not in text:
        assert tokenizer.decode(padded.input_ids, skip_special_tokens=True) == text


def test_two_processes_at_once(home: Path) -> None:
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(tiny_random())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert [path.name for path in found[0].parent.iterdir()] == [found[0].name]


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        make_tiny(tmp_path / "file" / "tiny")
