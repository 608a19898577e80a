from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from storymem.cli.models import app
from storymem.errors import ModelError
from storymem.models.catalog import CATALOG, entry
from storymem.models.store import Lock, folder_of, write_lock


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STORYMEM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_list() -> None:
    shown = run("list")
    assert shown.exit_code == 0
    assert all(name in shown.stdout for name in CATALOG)
    rows = json.loads(run("list", "--json").stdout)
    assert [row["name"] for row in rows] == list(CATALOG)
    assert [row["name"] for row in rows if row["installed"]] == ["storyland", "tiny-random"]


def test_show() -> None:
    shown = run("show", "storymem-mi2v").stdout
    assert "huggingface.co/Kevin-thu/StoryMem" in shown
    assert "pinned at the first download" in shown
    assert "shift 4.0" in shown
    data = json.loads(run("show", "wan2.2-i2v-a14b", "--json").stdout)
    assert data["sampling"]["shift"] == 5.0
    assert data["needs"][0]["gpu"] > 60 * 2**30
    error = run("show", "wan2.2").exception
    assert isinstance(error, ModelError)


def test_check_a_model_and_a_lora(checkpoint: Path) -> None:
    shown = run("check", checkpoint)
    assert shown.exit_code == 0
    assert shown.stdout.count(" ok ") == 5
    lora = checkpoint / "StoryMem" / "Wan2.2-MI2V-A14B"
    report = json.loads(run("check", lora, "--on", checkpoint, "--json").stdout)
    assert report["ok"]
    assert [part["part"] for part in report["parts"]] == ["lora high", "lora low"]
    assert run("check", "tiny-random").exit_code == 0
    assert run("check", checkpoint / "Wan2.1_VAE.pth").exit_code == 0


def test_check_a_broken_model(checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "model"))
    (folder / "Wan2.1_VAE.pth").unlink()
    result = run("check", folder)
    assert isinstance(result.exception, ModelError)
    assert result.exception.exit_code == 2
    assert "1 problem; the first" in str(result.exception)
    assert "vae" in result.stdout
    report = run("check", folder, "--json")
    assert not json.loads(report.stdout)["ok"]
    assert isinstance(report.exception, ModelError)


def test_check_a_download(checkpoint: Path) -> None:
    item = entry("wan2.2-i2v-a14b")
    missing = run("check", item.name)
    assert "models download wan2.2-i2v-a14b" in str(missing.exception)
    folder = Path(shutil.copytree(checkpoint, folder_of(item)))
    sizes = {str(p.relative_to(folder)): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    assert item.repo is not None
    write_lock(item, Lock(item.repo, "0" * 40, sizes, {"Wan2.1_VAE.pth": "0" * 64}))
    assert run("check", item.name).exit_code == 0
    assert "(SHA-256)" in str(run("check", item.name, "--hash").exception)
    (folder / "google" / "umt5-xxl" / "tokenizer_config.json").write_text("{}")
    wrong = str(run("check", item.name).exception)
    assert "tokenizer_config.json has 2 bytes instead of" in wrong
    assert "run `storymem models download wan2.2-i2v-a14b`" in wrong


def test_options_that_make_no_sense(checkpoint: Path) -> None:
    assert "--on is for LoRAs" in str(run("check", checkpoint, "--on", checkpoint).exception)
    assert "leave out --hash" in str(run("check", checkpoint, "--hash").exception)
    assert "no such folder or file" in str(run("check", "./nothing").exception)


def test_download_without_a_hub() -> None:
    error = run("download", "clip-vit-b32").exception
    assert isinstance(error, ModelError)
    assert "the hub cannot be reached" in str(error)
