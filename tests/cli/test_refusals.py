"""What people get wrong on the command line: one clear sentence, exit code 2, and nothing lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from storymem.media import write_png
from storymem.models.catalog import CATALOG
from storymem.models.store import Lock, folder_of, write_lock

Storymem = Callable[..., str]

LONG = "x" * 300


def spoken(*arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "storymem", *arguments],
        env={**os.environ, "COLUMNS": "200", **environment},
        capture_output=True,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("script", "new", f"{LONG}.yaml"),
        ("script", "check", f"{LONG}.yaml"),
        ("status", LONG),
        ("generate", "fox.yaml", "-o", LONG),
        ("generate", "fox.yaml", "-o", f"{LONG}/film"),
        ("world", "preview", "--shots", "1", "-o", f"{LONG}.png"),
    ],
)
def test_a_name_that_no_disk_takes(
    storymem: Storymem, script: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(script.parent)
    assert "File name too long" in storymem(*arguments, code=2)
    assert [path.name for path in script.parent.iterdir()] == ["fox.yaml"]


def test_a_folder_that_may_not_be_written_to_is_no_fault_of_the_disk(storymem: Storymem, script: Path) -> None:
    assert "choose another place" in storymem("generate", script, "-o", "/proc/film", code=2)


def test_text_that_is_no_utf8(script: Path) -> None:
    run = spoken("generate", str(script), "-o", str(script.parent / "film"), "--negative-prompt", "bl\udcffr")
    assert run.returncode == 2
    assert rb"'bl\udcffr': has bytes that are no UTF-8" in run.stderr
    assert b"Traceback" not in run.stderr


def test_a_folder_whose_name_is_no_utf8(script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = script.parent / "caf\udce9"
    place.mkdir()
    write_png(place / "zora.png", np.zeros((32, 32, 3), np.uint8))
    (place / "film.yaml").write_text("title: Zora\ncast: {Zora: {references: [zora.png]}}\nshots: [Zora waves.]\n")
    monkeypatch.chdir(place)
    run = spoken("generate", "film.yaml", "-o", str(script.parent / "film"))
    assert run.returncode == 2
    assert rb"caf\udce9" in run.stderr
    assert b"a file or folder with this in its name has bytes that are no UTF-8" in run.stderr
    assert b"Traceback" not in run.stderr


def test_a_terminal_that_knows_few_letters(tmp_path: Path) -> None:
    script = tmp_path / "film.yaml"
    script.write_text("title: Größe 狐\nshots: [Ein Fuchs läuft.]\n", encoding="utf-8")
    western = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "latin-1"}
    run = spoken("script", "check", str(script), **western)
    assert run.returncode == 0, run.stderr
    assert "Größe \\u72d0".encode("latin-1") in run.stdout
    run = spoken("script", "check", "--json", str(script), **western)
    assert json.loads(run.stdout)[0]["title"] == "Größe 狐"


def test_options_that_contradict_each_other(storymem: Storymem, script: Path, tmp_path: Path) -> None:
    output = storymem("generate", script, "-o", tmp_path / "film", "--what", "film", "--no-export", code=2)
    assert "--what and --no-export contradict each other" in output
    assert "at most 8192" in storymem("generate", script, "-o", tmp_path / "film", "--size", "8208x16", code=2)
    assert "between 1 and 240" in storymem("generate", script, "-o", tmp_path / "film", "--fps", "241", code=2)
    assert not (tmp_path / "film").exists()


def test_an_export_elsewhere_writes_over_nothing_of_others(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film, other, there = tmp_path / "film", tmp_path / "other", tmp_path / "there"
    for folder in (film, other):
        storymem("generate", script, "-o", folder, *options, "--no-export")
    there.mkdir()
    (there / "film.mp4").write_bytes(b"of somebody else")
    (there / "clips").mkdir()
    (there / "clips" / "01_01-01.mp4").write_bytes(b"a clip of somebody else")
    for products in ([], ["--what", "film"], ["--what", "clips"], ["--what", "timeline", "--again"]):
        assert "was not written by an export of this film" in storymem("export", film, "--to", there, *products, code=2)
    assert (there / "film.mp4").read_bytes() == b"of somebody else"
    assert (there / "clips" / "01_01-01.mp4").read_bytes() == b"a clip of somebody else"
    assert not list(there.glob("contact_sheet*"))
    storymem("export", film, "--to", there, "--what", "sheet")  # beside them there is room

    inside = {path: path.stat().st_mtime_ns for path in film.rglob("*")}
    mine = tmp_path / "mine"
    storymem("export", film, "--to", mine)
    assert {path: path.stat().st_mtime_ns for path in film.rglob("*")} == inside  # it may be on a disk for reading
    first = (mine / "film.mp4").stat().st_mtime_ns
    storymem("export", film, "--to", mine)
    assert (mine / "film.mp4").stat().st_mtime_ns == first
    clips = sorted((mine / "clips").iterdir())
    assert "was not written by an export of this film" in storymem("export", other, "--to", mine, code=2)
    assert sorted((mine / "clips").iterdir()) == clips
    assert "is the folder of another film" in storymem("export", film, "--to", other, code=2)
    storymem("export", film, "--to", film, "--what", "sheet")  # its own
    assert (film / "contact_sheet.png").is_file()


def test_a_damaged_master_is_made_again_and_not_written_again(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--no-export")
    (master,) = (film / "takes" / "01-02").glob("*/master.mkv")
    data = bytearray(master.read_bytes())
    data[len(data) // 2] ^= 1
    master.write_bytes(data)
    said = storymem("export", film, code=2)
    assert "is damaged (its checksum is wrong): `storymem generate`, run again as before, makes the shot anew." in said
    storymem("generate", script, "-o", film)


def test_a_film_of_a_cast_goes_on_without_the_pictures(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    text = script.read_text().replace("a small red fox with a green scarf", "{description: a fox, references: fox.png}")
    script.write_text(text)
    assert "there is no such file" in storymem("generate", script, "-o", tmp_path / "film", *options, code=2)
    write_png(script.parent / "fox.png", np.zeros((3, 32, 48), np.float32))
    storymem("generate", script, "-o", tmp_path / "film", *options, "--no-export")
    moved = tmp_path / "moved" / "film"
    moved.parent.mkdir()
    (tmp_path / "film").rename(moved)
    (script.parent / "fox.png").unlink()
    kept = moved / "script.yaml"
    (tmp_path / "longer.yaml").write_text(kept.read_text() + "      - Rudi sleeps.\n")
    assert storymem("generate", kept, "-o", moved, "--no-export").count("is there already") == 3
    assert "02-02  made" in storymem("generate", tmp_path / "longer.yaml", "-o", moved, "--no-export")
    (tmp_path / "longer.yaml").write_text(text.replace("fox.png", "another.png"))
    assert "another.png: there is no such picture" in storymem(
        "generate", tmp_path / "longer.yaml", "-o", moved, code=2
    )


def test_an_encoder_of_ones_own_is_found_from_another_folder(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
                              image_size=32, patch_size=16, projection_dim=8)  # fmt: skip
    CLIPVisionModelWithProjection(config).save_pretrained(tmp_path / "clip")
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(tmp_path / "clip")
    monkeypatch.chdir(tmp_path)
    storymem("generate", script, "-o", "film", *options, "--encoder", "clip", "--no-export")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "01-01  made" in storymem("retake", tmp_path / "film", "01-01", "--no-export")


def test_a_scorer_that_cannot_be_read_is_told_before_a_shot_is_made_and_plans_do_without(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORYMEM_HOME", str(tmp_path / "home"))
    item = CATALOG["hpsv3"]
    assert item.repo is not None
    assert item.revision is not None
    folder_of(item).mkdir(parents=True)
    write_lock(item, Lock(item.repo, item.revision, {}, {}))
    film = tmp_path / "film"
    command = ("generate", script, "-o", film, *options, "--scorer", "hpsv3")
    assert "3 shots" in storymem(*command, "--dry-run")
    assert "HPSv3.safetensors is missing" in storymem(*command, code=2)
    assert not list(film.glob("shots/*/*/shot.mkv"))
    assert not list(film.rglob("take.json"))
