from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from edits import make_edit

from storymem.errors import FilmDamagedError
from storymem.film.edit import EditShot, MemoryPicture
from storymem.film.letters import load_font
from storymem.film.sheet import SHOTS_PER_PAGE, _facts, _wrap, contact_sheet
from storymem.media import read_image, to_uint8


def read(path: Path) -> np.ndarray:
    return to_uint8(read_image(path))


def count_colour(sheet: np.ndarray, colour: tuple[int, int, int], tolerance: int = 2) -> int:
    return int((np.abs(sheet.astype(int) - colour).max(axis=2) <= tolerance).sum())


def plain(colour: tuple[int, int, int], height: int = 48, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def test_sheet_shows_the_frames_of_the_film_and_the_memory(tmp_path: Path):
    edit = make_edit(tmp_path, [(9, 0), (9, 5)])
    memory = (MemoryPicture("k", "01-01", lambda: plain((255, 0, 255))),)
    edit = replace(edit, shots=(edit.shots[0], replace(edit.shots[1], memory=memory)))
    assert contact_sheet(edit, tmp_path / "sheet.png") == (tmp_path / "sheet.png",)
    sheet = read(tmp_path / "sheet.png")
    assert count_colour(sheet, (255, 0, 255)) > 2000
    # Red tells the shot, green the frame: 9 frames give 0, 2, 4, 6, 8; what is left of the second 5, 6, 7, 8 (x 8).
    for red, shown, hidden in ((40, (0, 16, 32, 48, 64), (8, 24)), (70, (40, 48, 56, 64), (0, 16, 32))):
        greens = sheet[np.abs(sheet[..., 0].astype(int) - red) <= 1][:, 1]
        counts = np.bincount(greens, minlength=256)
        assert all(counts[green] > 5000 for green in shown)
        assert all(counts[green] < 500 for green in hidden)


@pytest.mark.parametrize("size", [(64, 48), (48, 96), (160, 32), (32, 32)])
def test_sheet_of_any_shape_keeps_within_its_page(tmp_path: Path, size: tuple[int, int]):
    edit = make_edit(tmp_path, [(5, 0), (1, 0)], size=size)
    contact_sheet(edit, tmp_path / "sheet.png")
    sheet = read(tmp_path / "sheet.png")
    assert sheet.shape[1] == 2800
    assert len(np.unique(sheet[:, :60].reshape(-1, 3), axis=0)) == 1  # the margins are empty
    assert len(np.unique(sheet[:, -60:].reshape(-1, 3), axis=0)) == 1
    assert len(np.unique(sheet[-60:].reshape(-1, 3), axis=0)) == 1


def test_long_film_gets_pages_of_bounded_size(tmp_path: Path):
    edit = make_edit(tmp_path, [(1, 0)])
    shots = tuple(replace(edit.shots[0], id=f"s{index}", scene=index + 1) for index in range(30))
    told: list[tuple[int, int]] = []
    pages = contact_sheet(
        replace(edit, shots=shots), tmp_path / "sheet.png", on_progress=lambda done, total: told.append((done, total))
    )
    count = -(-30 // SHOTS_PER_PAGE)
    assert [page.name for page in pages] == ["sheet.png", *(f"sheet_{number}.png" for number in range(2, count + 1))]
    assert max(read(page).shape[0] for page in pages) < 5000
    assert told == [(done, 30) for done in range(1, 31)]


def test_each_memory_picture_is_loaded_once(tmp_path: Path):
    loads: list[str] = []

    def memory(key: str) -> MemoryPicture:
        return MemoryPicture(key, key, lambda: (loads.append(key), plain((1, 2, 3)))[1])

    edit = make_edit(tmp_path, [(1, 0)])
    shots = tuple(
        replace(edit.shots[0], id=f"s{index}", memory=tuple(memory(f"k{number}") for number in range(index)))
        for index in range(SHOTS_PER_PAGE + 2)
    )
    contact_sheet(replace(edit, shots=shots), tmp_path / "sheet.png")
    assert len(loads) == len(set(loads))


def test_more_memory_than_fits_is_counted(tmp_path: Path):
    edit = make_edit(tmp_path, [(1, 0)])
    colours = [(10 * number, 255, 0) for number in range(14)]
    memory = tuple(
        MemoryPicture(str(number), "x", lambda colour=colour: plain(colour)) for number, colour in enumerate(colours)
    )
    contact_sheet(replace(edit, shots=(replace(edit.shots[0], memory=memory),)), tmp_path / "sheet.png")
    sheet = read(tmp_path / "sheet.png")
    shown = [count_colour(sheet, colour) > 2000 for colour in colours]
    assert shown == [True] * 9 + [False] * 5


def test_memory_of_other_shapes_is_cropped_not_squeezed(tmp_path: Path):
    picture = plain((0, 0, 0), 40, 400)
    picture[:, 180:220] = (255, 0, 255)  # the middle of a very wide reference
    memory = (MemoryPicture("k", "reference", lambda: np.moveaxis(picture, 2, 0).astype(np.float32) / 127.5 - 1),)
    edit = make_edit(tmp_path, [(1, 0)])
    contact_sheet(replace(edit, shots=(replace(edit.shots[0], memory=memory),)), tmp_path / "sheet.png")
    sheet = read(tmp_path / "sheet.png")
    assert count_colour(sheet, (255, 0, 255)) > 3000


@pytest.mark.parametrize(
    "text", ["", "灯台守の老人が" * 60, "word " * 500, "x" * 3000, "مرحبا", "😀" * 50, "a\0b\tc\nd", "e\u0301"]
)
def test_no_text_breaks_the_sheet(tmp_path: Path, text: str):
    edit = make_edit(tmp_path, [(1, 0)], title=text)
    shot = replace(edit.shots[0], prompt=text, seed=None, mode="", id="s" * 200)
    contact_sheet(replace(edit, shots=(shot,), settings={"model": text}), tmp_path / "sheet.png")
    assert read(tmp_path / "sheet.png").shape[1] == 2800


def test_lines_break_at_spaces_and_are_elided():
    font = load_font(20)
    words = "the quick brown fox jumps over the lazy dog " * 5
    lines = _wrap(words, font, 300, 3)
    assert len(lines) == 3
    assert all(font.getlength(line) <= 300 for line in lines)
    assert lines[2].endswith("…")
    assert words.startswith(" ".join(lines).removesuffix("…"))
    assert _wrap("short", font, 300, 3) == ["short"]
    assert _wrap("", font, 300, 3) == []
    long = _wrap("x" * 500, font, 300, 2)
    assert len(long) == 2
    assert all(font.getlength(line) <= 300 for line in long)


def test_the_head_says_each_fact_once(tmp_path: Path):
    edit = replace(make_edit(tmp_path, [(9, 0)]), settings={"model": "tiny", "fps": 16, "loras": [], "steps": 4})
    assert _facts(edit) == ["1 shot", "0.6 s", "16 fps", "model tiny", "steps 4"]
    long = replace(edit, shots=tuple(replace(edit.shots[0], id=f"s{n}", num_frames=960) for n in range(2)))
    assert _facts(long)[:3] == ["2 shots", "2:00 min", "16 fps"]


def test_titles_of_scenes_are_drawn_and_keep_off_the_headings(tmp_path: Path):
    edit = make_edit(tmp_path, [(1, 0)])
    sheets = []
    for title in ("", "Evening", "W" * 300):
        shot = replace(edit.shots[0], scene_title=title)
        contact_sheet(replace(edit, shots=(shot,)), tmp_path / "sheet.png")
        sheets.append(read(tmp_path / "sheet.png"))
    plain, evening, long = sheets
    changed = np.flatnonzero((plain != evening).any(axis=(1, 2)))
    assert 212 < changed[0] <= changed[-1] < 212 + 74  # the line of the scene and nothing else
    assert np.array_equal(plain[:, 704:], long[:, 704:])  # the frames' heading begins there


def test_same_film_same_sheet(tmp_path: Path):
    edit = make_edit(tmp_path)
    for name in ("a.png", "b.png"):
        contact_sheet(edit, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_missing_master_is_damage(tmp_path: Path):
    edit = make_edit(tmp_path)
    missing = EditShot("gone", "x", tmp_path / "gone.mkv", 5)
    with pytest.raises(FilmDamagedError, match="Shot gone"):
        contact_sheet(replace(edit, shots=(*edit.shots, missing)), tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
