from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from small_hpsv3 import CHECKPOINT, make_hpsv3
from storymem.errors import CheckpointError, ModelError
from storymem.film.choosers import encoder_for, scorer_for
from storymem.memory.clip import ClipEncoder
from storymem.memory.encoders import unload_models
from storymem.memory.hpsv3 import Hpsv3Scorer
from storymem.models.catalog import CATALOG
from storymem.models.store import Lock, folder_of, write_lock

FRAMES = np.random.default_rng(0).uniform(-1, 1, (2, 3, 28, 30)).astype(np.float32)


@pytest.fixture(scope="module")
def hpsv3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_hpsv3(tmp_path_factory.mktemp("hpsv3") / "model")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    place = tmp_path / "home"
    monkeypatch.setenv("STORYMEM_HOME", str(place))
    yield place
    unload_models()


def downloaded(name: str, source: Path) -> Path:
    """As `storymem models download` leaves it."""
    item = CATALOG[name]
    assert item.repo is not None
    assert item.revision is not None
    folder = folder_of(item)
    shutil.copytree(source, folder / item.subfolder)
    write_lock(item, Lock(item.repo, item.revision, {}, {}))
    return folder / item.subfolder


def small_clip(folder: Path) -> Path:
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16,
        projection_dim=24,
    )  # fmt: skip
    torch.manual_seed(0)
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def test_a_scorer_is_what_it_is_before_it_is_read(hpsv3: Path) -> None:
    place = downloaded("hpsv3", hpsv3)
    scorer = scorer_for("hpsv3", device="cpu")
    assert scorer is not None
    read = Hpsv3Scorer.load(place, source="MizzenAI/HPSv3@4f81e3e09edd82fe3c5f636444c721b592a735ca")
    assert (scorer.identity, scorer.name, scorer.default_threshold) == (read.identity, "hpsv3", 3.0)
    np.testing.assert_array_equal(scorer.score(FRAMES), read.score(FRAMES))


def test_weights_have_one_identity_in_the_hubs_cache_and_in_a_download(hpsv3: Path, tmp_path: Path) -> None:
    from_the_hub = [encoder_for("clip-vit-b32", device="cpu").identity, Hpsv3Scorer.identity_of()]
    downloaded("clip-vit-b32", small_clip(tmp_path / "clip"))
    downloaded("hpsv3", hpsv3)
    scorer = scorer_for("hpsv3", device="cpu")
    assert scorer is not None
    assert [encoder_for("clip-vit-b32", device="cpu").identity, scorer.identity] == from_the_hub


def test_films_that_know_a_download_by_its_content_go_on(hpsv3: Path, tmp_path: Path) -> None:
    clip, place = downloaded("clip-vit-b32", small_clip(tmp_path / "clip")), downloaded("hpsv3", hpsv3)
    known = ClipEncoder.load(clip).identity
    assert known.startswith("clip:")
    encoder = encoder_for("clip-vit-b32", device="cpu", known=known)
    assert encoder.identity == known
    np.testing.assert_array_equal(encoder.encode(FRAMES), ClipEncoder.load(clip).encode(FRAMES))
    scorer = scorer_for("hpsv3", device="cpu", known=Hpsv3Scorer.identity_of(place))
    assert scorer is not None
    assert scorer.identity == Hpsv3Scorer.identity_of(place)
    assert encoder_for("clip-vit-b32", device="cpu", known="clip:another:float32").identity.startswith("openai/")


def test_a_scorer_is_read_once_for_many_films(hpsv3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloaded("hpsv3", hpsv3)
    loads: list[object] = []
    load = Hpsv3Scorer.load

    def counted(*args: object, **options: object) -> Hpsv3Scorer:
        loads.append(args)
        return load(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Hpsv3Scorer, "load", counted)
    for _ in range(2):
        scorer = scorer_for("hpsv3", device="cpu")
        assert scorer is not None
        scorer.score(FRAMES)
    assert len(loads) == 1


def test_an_encoder_in_a_folder_is_what_its_files_contain(tmp_path: Path) -> None:
    folder = small_clip(tmp_path / "clip")
    encoder = encoder_for(str(folder), device="cpu")
    read = ClipEncoder.load(folder)
    assert encoder.identity == read.identity
    assert encoder.identity.startswith("clip:")
    assert encoder.dimension == 24
    np.testing.assert_array_equal(encoder.encode(FRAMES), read.encode(FRAMES))


def test_damage_is_told_when_it_is_made_ready_and_not_before(hpsv3: Path) -> None:
    place = downloaded("hpsv3", hpsv3)
    (place / CHECKPOINT).write_bytes((place / CHECKPOINT).read_bytes()[:1000])
    scorer = scorer_for("hpsv3", device="cpu")
    with pytest.raises(CheckpointError, match="damaged or cut off"):
        scorer.ready()  # type: ignore[union-attr]


@pytest.mark.parametrize(("rests", "remedy"), [(False, "try --offload model, or"), (True, "try --scorer builtin")])
def test_a_scorer_that_does_not_fit_is_one_sentence(
    hpsv3: Path, monkeypatch: pytest.MonkeyPatch, rests: bool, remedy: str
) -> None:
    def no_room(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    downloaded("hpsv3", hpsv3)
    scorer = scorer_for("hpsv3", device="cpu", rests=rests)
    assert scorer is not None
    monkeypatch.setattr("storymem.memory.hpsv3._read", no_room)
    with pytest.raises(ModelError, match=f"memory ran out while hpsv3 was loaded: {remedy}"):
        scorer.score(FRAMES)


def test_one_that_rests_is_on_the_device_only_while_it_scores(hpsv3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[str] = []
    moving = Hpsv3Scorer.to

    def to(self: Hpsv3Scorer, device: str) -> Hpsv3Scorer:
        moves.append(device)
        return moving(self, device)

    downloaded("hpsv3", hpsv3)
    monkeypatch.setattr(Hpsv3Scorer, "to", to)
    scorer = scorer_for("hpsv3", device="meta", rests=True)  # a device that computes nothing
    assert scorer is not None
    with pytest.raises((NotImplementedError, RuntimeError)):
        scorer.score(FRAMES)
    assert moves == ["meta", "cpu"]


def test_names_that_nobody_has() -> None:
    with pytest.raises(ModelError, match="frame encoder 'clap' is unknown"):
        encoder_for("clap", device="cpu")
    with pytest.raises(ModelError, match="quality scorer 'hpsv9' is unknown"):
        scorer_for("hpsv9", device="cpu")
    assert scorer_for("none", device="cpu") is None
