from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from storymem.errors import ModelError, SettingsError
from storymem.memory import ENCODERS, SCORERS, load_encoder, load_scorer, unload_models
from storymem.memory.builtin import BuiltinEncoder, BuiltinScorer
from storymem.settings import MemoryConfig


def test_the_defaults_of_the_settings_need_no_download() -> None:
    config = MemoryConfig()
    assert isinstance(load_encoder(config.encoder), BuiltinEncoder)
    assert isinstance(load_scorer(config.scorer), BuiltinScorer)
    assert config.encoder in ENCODERS
    assert config.scorer in SCORERS


def test_loaded_once_until_unloaded() -> None:
    encoder, scorer = load_encoder("builtin"), load_scorer("builtin")
    assert load_encoder("builtin") is encoder
    assert load_scorer("builtin") is scorer
    unload_models()
    assert load_encoder("builtin") is not encoder
    assert load_scorer("builtin") is not scorer


def test_no_scorer() -> None:
    assert load_scorer("none") is None


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(
        ModelError, match=r"frame encoder 'clipp' is unknown: use one of builtin, clip-vit-b32, or a folder"
    ):
        load_encoder("clipp")
    with pytest.raises(ModelError, match=r"quality scorer 'hps' is unknown: use one of builtin, hpsv3, none\."):
        load_scorer("hps")


def test_wrong_options(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="use one of float32, bfloat16, float16"):
        load_encoder("clip-vit-b32", dtype="int8")
    with pytest.raises(SettingsError, match="has no weights"):
        load_scorer("builtin", path=tmp_path)
    with pytest.raises(ModelError, match="no such folder"):
        load_encoder("clip-vit-b32", path=tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="device 'cuda:99' is not there"):
        load_encoder("clip-vit-b32", path=tmp_path, device="cuda:99")


@pytest.mark.parametrize("load", [lambda: load_encoder("clip-vit-b32"), lambda: load_scorer("hpsv3")])
def test_without_the_hub_the_remedy_is_said(load: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="connection to the Hugging Face hub"):
        load()  # type: ignore[operator]


def test_the_memory_package_does_not_import_torch() -> None:
    code = "import sys, storymem.memory; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
