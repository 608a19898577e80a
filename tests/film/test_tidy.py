from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from fault_server import content
from filming import Studio, flip
from procedural import THREE_SHOTS

from storymem.errors import FilmDamagedError
from storymem.film.director import Director
from storymem.film.export import film_edit
from storymem.film.project import Film
from storymem.film.storage import TEMPORARY
from storymem.film.tidy import leftovers, tidy
from storymem.media import write_png


def left(studio: Studio) -> dict[str, str]:
    return {one.path: one.what for one in leftovers(studio.film())}


def clean(studio: Studio) -> None:
    with Film.work(studio.folder) as film:
        tidy(film)


def test_a_new_film_has_nothing_to_spare(finished: Studio) -> None:
    assert left(finished) == {}
    before = content(finished.folder)
    clean(finished)
    assert content(finished.folder) == before


def test_takes_that_are_not_in_the_film_go(finished: Studio) -> None:
    old = finished.take("01-03")
    finished.retake("01-03")
    path = old.folder.relative_to(finished.folder).as_posix()
    assert left(finished) == {path: "a take of 01-03, not in the film"}
    (one,) = leftovers(finished.film())
    assert one.size == sum(file.stat().st_size for file in old.folder.rglob("*") if file.is_file())
    chosen = finished.chosen()
    clean(finished)
    assert not old.folder.exists()
    assert finished.chosen() == chosen
    assert [take.key for take in finished.film().manifest.kept["01-03"]] == [chosen["01-03"]]
    assert finished.statuses() == ["done"] * 3


def test_what_a_stale_shot_saw_stays_for_the_sheet(finished: Studio) -> None:
    seen = finished.take("01-01")
    finished.retake("01-01")
    assert left(finished) == {}
    clean(finished)
    edit = film_edit(finished.film())
    assert all(picture.load() is not None for shot in edit.shots for picture in shot.memory)
    finished.generate(remake=True)
    gone = left(finished)
    assert seen.folder.relative_to(finished.folder).as_posix() in gone
    clean(finished)
    assert left(finished) == {}
    assert finished.statuses() == ["done"] * 3


def test_what_is_damaged_or_of_no_shot_goes_and_what_is_not_ours_stays(finished: Studio) -> None:
    flip(finished.take("01-01").folder / "master.mkv")
    finished.script = THREE_SHOTS.replace("      - prompt: The lantern goes out.\n", "")
    away = finished.take("01-03").folder
    finished.generate()
    (finished.folder / "takes" / "01-01" / "notes").mkdir()
    (finished.folder / "takes" / "mine.txt").write_text("mine")
    aside = next((finished.folder / "takes" / "01-01").glob(".damaged-*"))
    assert left(finished) == {
        aside.relative_to(finished.folder).as_posix(): "a damaged take of 01-01",
        away.relative_to(finished.folder).as_posix(): "of a shot that left the script",
    }
    clean(finished)
    assert (finished.folder / "takes" / "01-01" / "notes").is_dir()
    assert (finished.folder / "takes" / "mine.txt").read_text() == "mine"
    assert not aside.exists()
    assert not away.exists()


def test_reference_images_of_before_go(studio: Studio, tmp_path: Path) -> None:
    studio.base = tmp_path
    studio.script = THREE_SHOTS.replace("Mara: a girl with a red coat", "Mara: {references: mara.png}")
    write_png(tmp_path / "mara.png", np.full((32, 32, 3), 9, dtype=np.uint8))
    studio.generate()
    write_png(tmp_path / "mara.png", np.full((32, 32, 3), 200, dtype=np.uint8))
    studio.generate()
    assert left(studio) == {}  # the shots are stale, and the sheet shows what they saw
    studio.generate(remake=True)
    assert "reference images of before" in left(studio).values()
    clean(studio)
    assert len(list((studio.folder / "references").iterdir())) == 1


def test_nothing_goes_while_nobody_can_tell_what_is_needed(finished: Studio) -> None:
    finished.retake("01-03")
    (finished.take("01-02").folder / "take.json").write_text("{}")
    before = sorted(finished.folder.rglob("*"))
    with pytest.raises(FilmDamagedError):
        clean(finished)
    assert sorted(finished.folder.rglob("*")) == before


def test_finished_takes_stay_though_film_json_was_lost(finished: Studio) -> None:
    """A take is in the film by what it is made from, too: film.json may not know of it yet."""
    shutil.rmtree(finished.folder / "takes" / "01-02")
    (finished.folder / "film.json").unlink()
    with finished.begin() as film:
        list(Director(film, finished.tools).generate(until="01-01"))
    takes = sorted((finished.folder / "takes").glob("*/*"))
    assert left(finished) == {}  # of 01-03 nobody can tell before 01-02 is made
    clean(finished)
    assert sorted((finished.folder / "takes").glob("*/*")) == takes
    assert len(takes) == 2


def test_what_a_removal_left_in_a_folder_of_no_shot_is_swept(finished: Studio) -> None:
    folder = finished.folder / "takes" / "away" / f"{TEMPORARY}0123456789abcdef-1"
    folder.mkdir(parents=True)
    clean(finished)
    assert not folder.exists()


def test_a_removal_that_is_cut_off_is_finished_by_the_next_work(
    finished: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished.retake("01-03")
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **options: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        clean(finished)
    monkeypatch.undo()
    assert list((finished.folder / "takes" / "01-03").glob(f"{TEMPORARY}*"))
    assert finished.statuses() == ["done"] * 3
    clean(finished)
    assert not list((finished.folder / "takes" / "01-03").glob(f"{TEMPORARY}*"))
    assert (
        json.loads((finished.folder / "film.json").read_text())["kept"]["01-03"][0]["key"] == finished.chosen()["01-03"]
    )
