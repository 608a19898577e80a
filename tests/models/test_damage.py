"""Files that somebody or something has altered: one sentence each, whatever the libraries make of them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import torch

from storymem.errors import CheckpointError, ModelError
from storymem.models.checkpoints import load_components, load_tokenizer
from storymem.models.tiny import make_tiny
from storymem.models.weights import open_weights


@pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:Defining your")
@pytest.mark.parametrize("zipped", [True, False])
def test_pth_files_with_changed_bytes(tmp_path: Path, zipped: bool) -> None:
    whole = tmp_path / "whole.pth"
    state = {f"block.{i}.weight": torch.randn(4, 4) for i in range(4)}
    torch.save(state, whole, _use_new_zipfile_serialization=zipped)
    data, chance = whole.read_bytes(), random.Random(0)
    refused: list[str] = []
    file = tmp_path / "changed.pth"
    for _ in range(200):
        changed = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        file.write_bytes(changed)
        try:
            open_weights(file)  # a byte of a number may be another one and nobody can tell
        except CheckpointError as error:
            refused.append(str(error))
    assert len(refused) > 10
    assert all(sentence.startswith(f"{file}: ") for sentence in refused)


@pytest.mark.parametrize(
    ("component", "change"),
    [
        ("transformer", {"attention_head_dim": -1}),
        ("transformer", {"num_layers": "x"}),
        ("transformer", {"patch_size": None}),
        ("vae", {"dim_mult": []}),
        ("vae", {"base_dim": "wide"}),
        ("text_encoder", {"d_model": "x"}),
        ("text_encoder", {"num_layers": None}),
    ],
)
def test_sizes_that_nothing_can_be_built_by(tmp_path: Path, component: str, change: dict[str, object]) -> None:
    make_tiny(tmp_path / "model")
    path = tmp_path / "model" / component / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(CheckpointError, match=rf"{component}: nothing can be built by the sizes in its config\.json"):
        load_components(tmp_path / "model", only={component})


def test_a_tokenizer_never_runs_its_folders_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classes = {"auto_map": {"AutoTokenizer": ["own.Own", None]}}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", **classes}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Own", **classes}))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    asked: list[str] = []

    def yes(prompt: str = "") -> str:
        asked.append(prompt)
        return "y"

    monkeypatch.setattr("builtins.input", yes)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    with pytest.raises(ModelError, match="no tokenizer can be loaded"):
        load_tokenizer(tmp_path)
    assert not asked
    assert not (tmp_path / "ran").exists()
