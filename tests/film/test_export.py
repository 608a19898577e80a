"""Exports: what is written, what is left alone, and where nothing may be written."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from filming import Studio

from storymem.errors import FilmError
from storymem.film.export import Product, export_film
from storymem.film.project import Film


def export(
    studio: Studio, *products: Product, folder: Path | None = None, crf: int | None = None
) -> dict[Product, str]:
    with Film.work(studio.folder) as film:
        return export_film(film, products, folder=folder, crf=crf)[1]


def test_a_file_that_is_not_whole_is_written_again(finished: Studio) -> None:
    export(finished, "film")
    path = finished.folder / "film.mp4"
    whole = path.read_bytes()
    path.write_bytes(b"")
    export(finished, "film")
    assert path.read_bytes() == whole


def test_the_quality_that_was_asked_for_stays(finished: Studio) -> None:
    path = finished.folder / "film.mp4"
    export(finished, "film")
    usual = path.stat().st_size
    export(finished, "film", "sheet", crf=0)
    lossless, sheet = path.read_bytes(), finished.folder / "contact_sheet.png"
    assert len(lossless) > usual
    written = sheet.stat().st_mtime_ns
    export(finished, "film", "sheet")
    assert path.read_bytes() == lossless
    export(finished, "film", "sheet", crf=17)
    assert path.stat().st_size == usual
    assert sheet.stat().st_mtime_ns == written  # has no quality


def test_what_an_interrupted_export_left_elsewhere_is_its_own(finished: Studio, tmp_path: Path) -> None:
    there = tmp_path / "there"

    def interrupted(_: Product, done: int, __: int) -> None:
        if (there / "clips").is_dir() and len(list((there / "clips").iterdir())) > 1 and done:
            raise KeyboardInterrupt

    film = finished.film()
    with pytest.raises(KeyboardInterrupt):
        export_film(film, folder=there, on_work=interrupted)
    left = sorted(path.name for path in there.rglob("*.mp4"))
    assert 1 < len(left) < 4  # film and clips
    export_film(film, folder=there)
    assert len(list((there / "clips").iterdir())) == 3
    (there / "clips" / "mine.mp4").write_bytes(b"mine")
    written = {path: path.stat().st_mtime_ns for path in there.rglob("*.mp4")}
    export_film(film, folder=there)
    assert {path: path.stat().st_mtime_ns for path in there.rglob("*.mp4")} == written
    # When it is done, only what was written is its own.
    (there / "contact_sheet.png").unlink()
    (there / "contact_sheet_2.png").write_bytes(b"of somebody else")
    export_film(film, ["sheet"], folder=there)
    assert (there / "contact_sheet_2.png").read_bytes() == b"of somebody else"


@pytest.mark.parametrize("inside", ["takes", "clips", "takes/01-01"])
def test_nothing_is_exported_into_the_inside_of_the_film(finished: Studio, inside: str) -> None:
    with pytest.raises(FilmError, match="is inside the film's own folder"):
        export(finished, "film", folder=finished.folder / inside)


def test_a_keyframe_that_was_deleted_leaves_the_sheet_a_gap(finished: Studio) -> None:
    old = finished.take("01-01").folder
    finished.retake("01-01")
    shutil.rmtree(old)  # 01-03 still shows what it saw of it
    export(finished, "sheet")
    assert (finished.folder / "contact_sheet.png").is_file()


def test_what_television_cannot_hold_is_told_and_the_exact_timeline_is_there(studio: Studio) -> None:
    pytest.importorskip("opentimelineio")
    studio.sample(fps=240, num_frames=1)
    studio.script = "title: T\nshots: [A lantern., A boat., A tree.]\n"
    studio.generate()
    left_out = export(studio, "timeline")
    assert left_out["timeline"].startswith("film.edl and film.fcpxml: Shot 01-01 has 1 frame, which is too short")
    assert sorted(path.name for path in studio.folder.glob("film.*")) == ["film.json", "film.otio"]
