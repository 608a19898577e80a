"""Going on with a film: by its folder alone, and with a script whose shots have moved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from storymem.media import write_png

Storymem = Callable[..., str]


def test_a_film_goes_on_with_the_script_in_its_folder(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--until", "01-01")
    script.unlink()
    made = storymem("generate", film, "--no-export")
    assert made.count("is there already") == 1
    assert "3 shots (3 done)" in storymem("generate", film, "--dry-run")

    inside = film / "script.yaml"
    text = inside.read_text(encoding="utf-8")
    inside.write_text(
        text.replace("holding a lantern", "with a candle"), encoding="utf-8"
    )  # what was edited there is what is meant
    assert text != inside.read_text(encoding="utf-8")
    assert "stale" in storymem("generate", film, "--dry-run")
    storymem("generate", film, "--no-export", "--remake")
    assert "3 shots (3 done)" in storymem("generate", film, "--dry-run")
    assert [path.name for path in film.glob("script*")] == ["script.yaml"]

    copy = tmp_path / "copy.yaml"
    inside.rename(copy)
    assert f"{inside}: the film's copy of its script is gone" in storymem("generate", film, code=2)
    assert "3 shots (3 done)" in storymem("generate", copy, "-o", film, "--dry-run")
    storymem("generate", copy, "-o", film, "--no-export")
    assert inside.read_bytes() == copy.read_bytes()

    other = tmp_path / "other"
    storymem("generate", film, "-o", other, *options, "--until", "01-01")
    assert (other / "script.yaml").read_bytes() == inside.read_bytes()


def test_a_folder_that_cannot_be_meant_is_refused(storymem: Storymem, script: Path, tmp_path: Path) -> None:
    said = storymem("generate", tmp_path, code=2)
    assert "there is no film in this folder: give a script, or the folder of a film" in said
    said = storymem("generate", script, code=2)
    assert f"such as -o films/{script.stem}" in said


def test_shots_that_moved_away_from_their_takes_are_told_of(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film, text = tmp_path / "film", script.read_text(encoding="utf-8")
    storymem("generate", script, "-o", film, *options, "--no-export")
    first = "      - Wide shot"
    assert first in text
    script.write_text(text.replace(first, f"      - Snow falls on the town.\n{first}"), encoding="utf-8")
    told = "shots have moved (01-02 was 01-01, 01-03 was 01-02), and their takes stayed behind"
    assert told in storymem("generate", script, "-o", film, "--dry-run")
    assert not any("moved" in note for note in json.loads(storymem("status", film, "--json"))["notes"])
    said = storymem("generate", script, "-o", film, "--no-export")
    assert said.index(told) < said.index("made in")
    assert "(`id: 01-01` for 01-02)" in said
    left = "shots have moved (01-02 was 01-01), and"  # 01-03 has a take now
    assert any(left in note for note in json.loads(storymem("status", film, "--json"))["notes"])


def test_a_film_with_reference_images_goes_on_from_anywhere(
    storymem: Storymem, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "pictures").mkdir(parents=True)
    write_png(home / "pictures" / "zora.png", np.zeros((32, 48, 3), np.uint8))
    cast = "title: Zora\ncast: {Zora: {description: a girl, references: [pictures/zora.png]}}"
    (home / "film.yaml").write_text(f"{cast}\nshots: [Zora waves., Zora sings.]\n")
    monkeypatch.chdir(home)
    storymem("generate", "film.yaml", "-o", "film", *options, "--until", "01-01")
    monkeypatch.chdir(home / "film")
    assert "2 shots (1 done" in storymem("generate", ".", "--dry-run")
    shutil.move(home / "film", tmp_path / "moved")
    monkeypatch.chdir(tmp_path)
    assert "2 shots (1 done" in storymem("generate", "moved", "--dry-run")
    storymem("generate", "moved", "--no-export")


def test_a_retake_that_cannot_be_exported_is_not_taken_again(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--no-export")
    (film / "film.mp4").mkdir()
    said = storymem("retake", film, "01-02", code=2)
    remedy = f"; the new take is in the film, and `storymem export {film}` writes the film with it.\n"
    assert said.endswith(f"film.mp4: there is a folder of that name: choose another name for the file{remedy}")
    (film / "film.mp4").rmdir()
    (film / "clips").write_bytes(b"")
    said = storymem("retake", film, "01-02", code=2)
    assert said.endswith(remedy)
    assert "command again" not in said
    (film / "clips").unlink()
    assert len(list((film / "takes" / "01-02").iterdir())) == 3
    storymem("export", film)
    assert (film / "film.mp4").is_file()
