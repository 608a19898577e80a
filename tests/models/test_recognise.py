"""The same weights by name and by folder are sampled in the same way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from storymem.film.resolve import ModelRequest, ResolvedModel, resolve_model
from storymem.models.catalog import CATALOG
from storymem.models.recognise import known_lora, known_model
from storymem.models.store import Lock, folder_of, write_lock

ORIGINAL = {"_class_name": "WanModel", "in_dim": 36, "dim": 5120, "num_layers": 40}
DIFFUSERS = {"in_channels": 36, "num_attention_heads": 40, "attention_head_dim": 128, "num_layers": 40}


def write_model(folder: Path, config: dict[str, object]) -> Path:
    original = "dim" in config
    for name in ("high_noise_model", "low_noise_model") if original else ("transformer", "transformer_2"):
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(config))
    if not original:
        parts = {name: ["diffusers", "WanTransformer3DModel"] for name in ("transformer", "transformer_2")}
        (folder / "model_index.json").write_text(json.dumps(parts))
    return folder


@pytest.mark.parametrize("config", [ORIGINAL, DIFFUSERS], ids=["original", "diffusers"])
def test_wan_2_2_is_known_in_a_folder_of_any_name(tmp_path: Path, config: dict[str, object]) -> None:
    assert known_model(write_model(tmp_path / "mine", config)) is CATALOG["wan2.2-i2v-a14b"]
    assert known_model(write_model(tmp_path / "small", {**config, "num_layers": 30})) is None
    (tmp_path / "mine" / "model_index.json").unlink(missing_ok=True)
    (next((tmp_path / "mine").iterdir()) / "config.json").unlink()
    assert known_model(tmp_path / "mine") is None


def test_other_models_are_not_taken_for_it(checkpoint: Path, tmp_path: Path) -> None:
    assert known_model(checkpoint) is None
    assert known_model(write_model(tmp_path / "t2v", {**ORIGINAL, "in_dim": 16})) is None
    assert known_model(tmp_path) is None
    assert known_model(tmp_path / "nothing.safetensors") is None
    assert known_lora(tmp_path) is None


@pytest.mark.parametrize("lora", ["storymem-mi2v", "storymem-mm2v", "lightning-i2v"])
def test_a_film_by_folders_is_that_by_names(home: Path, lora: str) -> None:
    entries = [CATALOG["wan2.2-i2v-a14b"], CATALOG[lora]]
    for item in entries:
        write_lock(item, Lock("a/b", "0" * 40, {}, {}))
        (folder_of(item) / item.subfolder).mkdir(parents=True)
    write_model(folder_of(entries[0]), ORIGINAL)
    by_name = resolve_model(ModelRequest("wan2.2-i2v-a14b", ((lora, 1.0),)))
    by_path = resolve_model(ModelRequest(*folders(by_name)))

    def made(resolved: ResolvedModel) -> tuple[object, ...]:
        return resolved.sampling, resolved.negative_prompt, resolved.continue_with, resolved.note

    assert made(by_path) == made(by_name)
    assert by_path.negative_prompt
    (folder_of(entries[0]) / "sampling.json").write_text('{"shift": 7.0}')
    assert resolve_model(ModelRequest(folders(by_name)[0])).sampling["shift"] == 7.0, "the folder's own word is last"


def folders(resolved: ResolvedModel) -> tuple[str, tuple[tuple[str, float], ...]]:
    return str(resolved.model.folder), tuple((str(lora.path), lora.weight) for lora in resolved.model.loras)
