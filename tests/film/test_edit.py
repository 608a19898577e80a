from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from edits import PROMPT, make_edit, pixels

from storymem.errors import FilmDamagedError, FilmError, StorageError
from storymem.film.edit import Edit, EditShot, clip_name, elide, join_film, write_clips
from storymem.media import probe_video, read_video, write_video

LENGTHS = ((9, 0), (9, 1), (13, 5), (5, 0))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_film_is_the_trimmed_shots_frame_for_frame(tmp_path: Path):
    edit = make_edit(tmp_path, LENGTHS)
    assert edit.num_frames == 9 + 8 + 8 + 5
    assert edit.starts == (0, 9, 17, 25)
    assert join_film(edit, tmp_path / "film.mp4") == 30
    wanted = np.concatenate([pixels(index, count)[drop:] for index, (count, drop) in enumerate(LENGTHS)])
    film = np.stack(list(read_video(tmp_path / "film.mp4")))
    assert film.shape == wanted.shape
    assert np.abs(film.astype(int) - wanted).max() <= 8  # neighbouring frames differ by 8, shots by 30
    assert np.abs(film.mean(axis=(1, 2)) - wanted.mean(axis=(1, 2))).max() < 3


@pytest.mark.parametrize("drops", [(0, 0, 0), (0, 1, 5), (0, 5, 5), (0, 8, 1)])
@pytest.mark.parametrize("fps", [16, 24])
def test_chapters_are_exact_to_the_frame(tmp_path: Path, drops: tuple[int, ...], fps: int):
    edit = make_edit(tmp_path, [(9, drop) for drop in drops], fps=fps)
    join_film(edit, tmp_path / "film.mp4")
    info = probe_video(tmp_path / "film.mp4")
    assert info.num_frames == 27 - sum(drops)
    assert info.fps == fps
    lengths = [9 - drop for drop in drops]
    starts = [sum(lengths[:index]) for index in range(3)]
    assert [(chapter.start, chapter.end - chapter.start) for chapter in info.chapters] == [
        *zip(starts, lengths, strict=True)
    ]
    assert [chapter.title.split()[0] for chapter in info.chapters] == ["01-01", "01-02", "02-01"]


def test_film_says_what_it_is(tmp_path: Path):
    edit = make_edit(tmp_path)
    join_film(edit, tmp_path / "film.mp4")
    info = probe_video(tmp_path / "film.mp4")
    assert (info.codec, info.pix_fmt) == ("h264", "yuv420p")
    assert info.metadata["title"] == edit.title
    assert json.loads(info.metadata["comment"]) == {"model": "tiny", "seed": 7}
    assert info.chapters[0].title == '01-01  Mara <the keeper> & "her" gull: 猫 and rain, falling on…'


def test_film_is_the_same_bytes_every_time(tmp_path: Path):
    edit = make_edit(tmp_path)
    for name in ("a.mp4", "b.mp4"):
        join_film(edit, tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_clips_are_the_whole_takes(tmp_path: Path):
    edit = make_edit(tmp_path, LENGTHS)
    paths = write_clips(edit, tmp_path / "clips")
    assert [path.name for path in paths] == ["01_01-01.mp4", "02_01-02.mp4", "03_02-01.mp4", "04_02-02.mp4"]
    assert names(tmp_path / "clips") == [path.name for path in paths]
    for index, (path, (count, _)) in enumerate(zip(paths, LENGTHS, strict=True)):
        clip = np.stack(list(read_video(path)))
        assert np.abs(clip.astype(int) - pixels(index, count)).max() <= 8
    comment = json.loads(probe_video(paths[1]).metadata["comment"])
    assert comment["prompt"] == PROMPT
    assert (comment["seed"], comment["mode"], comment["steps"]) == (1001, "mi2v", 40)


def test_clip_names_sort_in_the_order_of_the_film(tmp_path: Path):
    shots = tuple(EditShot(f"s{index}", "x", tmp_path / "none", 5) for index in range(120))
    edit = Edit("long", 16, shots)
    clips = [clip_name(edit, index) for index in range(120)]
    assert clips[0] == "001_s0.mp4"
    assert clips == sorted(clips)


def test_progress_counts_every_frame(tmp_path: Path):
    edit = make_edit(tmp_path, LENGTHS)
    told: list[tuple[int, int]] = []
    join_film(edit, tmp_path / "film.mp4", on_progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 30) for done in range(1, 31)]
    told.clear()
    write_clips(edit, tmp_path, on_progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 36) for done in range(1, 37)]


def test_interrupted_export_keeps_the_old_film(tmp_path: Path):
    edit = make_edit(tmp_path)
    join_film(edit, tmp_path / "film.mp4")
    before = (tmp_path / "film.mp4").read_bytes()

    def interrupt(done: int, total: int) -> None:
        if done == 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        join_film(replace(edit, title="new"), tmp_path / "film.mp4", on_progress=interrupt)
    assert (tmp_path / "film.mp4").read_bytes() == before
    assert not [name for name in names(tmp_path) if name.startswith(".")]


def test_killed_export_keeps_the_old_film_and_the_next_one_cleans_up(tmp_path: Path):
    edit = make_edit(tmp_path, [(61, 0), (61, 1)])
    (tmp_path / "film.mp4").write_bytes(b"old")
    script = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from edits import make_edit
from storymem.film.edit import join_film
folder = Path(sys.argv[1])
def kill(done, total):
    if done == 110:  # the encoder holds back the first 50 or so
        os.kill(os.getpid(), signal.SIGKILL)
join_film(make_edit(folder, [(61, 0), (61, 1)]), folder / "film.mp4", on_progress=kill)
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path, Path(__file__).parent], check=False)
    assert done.returncode == -9
    assert (tmp_path / "film.mp4").read_bytes() == b"old"
    assert ".making-film.mp4" in names(tmp_path)
    join_film(edit, tmp_path / "film.mp4")
    assert probe_video(tmp_path / "film.mp4").num_frames == edit.num_frames
    assert ".making-film.mp4" not in names(tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_keeps_the_old_film(tmp_path: Path):
    edit = make_edit(tmp_path)
    (tmp_path / "film.mp4").write_bytes(b"old")
    (tmp_path / ".making-film.mp4").symlink_to("/dev/full")
    with pytest.raises(StorageError, match="No space left"):
        join_film(edit, tmp_path / "film.mp4")
    assert (tmp_path / "film.mp4").read_bytes() == b"old"


def test_shots_of_different_sizes_or_rates_are_refused(tmp_path: Path):
    edit = make_edit(tmp_path)
    write_video(tmp_path / "wide.mkv", pixels(0, 5, 96, 48), 16, codec="ffv1")
    wide = EditShot("wide", "x", tmp_path / "wide.mkv", 5)
    write_video(tmp_path / "fast.mkv", pixels(0, 5), 24, codec="ffv1")
    fast = EditShot("fast", "x", tmp_path / "fast.mkv", 5)
    for write in (lambda edit: join_film(edit, tmp_path / "film.mp4"), lambda edit: write_clips(edit, tmp_path)):
        with pytest.raises(FilmError, match="Shot wide is 96x48 and 01-01 is 64x48"):
            write(replace(edit, shots=(*edit.shots, wide)))
        with pytest.raises(FilmError, match="Shot fast has 24 frames per second and the film has 16"):
            write(replace(edit, shots=(*edit.shots, fast)))
    assert not list(tmp_path.glob("*.mp4"))


def test_damaged_masters_are_named(tmp_path: Path):
    edit = make_edit(tmp_path)
    with pytest.raises(FilmDamagedError, match=r"01-01\.mkv: shot 01-01 should have 5 frames and its master has 9"):
        join_film(replace(edit, shots=(replace(edit.shots[0], num_frames=5),)), tmp_path / "film.mp4")
    master = edit.shots[2].master
    data = bytearray(master.read_bytes())
    data[len(data) // 2] ^= 1
    master.write_bytes(data)
    with pytest.raises(FilmDamagedError, match=r"Shot 02-01: .*02-01\.mkv: frame \d+ is damaged"):
        join_film(edit, tmp_path / "film.mp4")
    master.unlink()
    with pytest.raises(FilmDamagedError, match=r"Shot 02-01: .*02-01\.mkv: there is no such video"):
        join_film(edit, tmp_path / "film.mp4")
    assert not list(tmp_path.glob("*.mp4"))


def test_edits_check_themselves(tmp_path: Path):
    shot = EditShot("a", "x", tmp_path / "a.mkv", 9)
    with pytest.raises(FilmError, match="no shots yet"):
        Edit("empty", 16, ())
    with pytest.raises(FilmError, match=r"Two shots .* have the id a"):
        Edit("double", 16, (shot, shot))
    with pytest.raises(FilmError, match="above 0"):
        Edit("still", 0, (shot,))
    with pytest.raises(FilmError, match="at least one must stay"):
        replace(shot, num_frames=5, drop=5)
    for bad in ("", "../a", "a/b", ".hidden", "a\0b", "a b"):
        with pytest.raises(FilmError, match="cannot be a file name"):
            replace(shot, id=bad)
    assert Edit("ntsc", Fraction(30000, 1001), (shot,)).num_frames == 9


def test_elide():
    assert elide("a  b\n c", 10) == "a b c"
    assert elide("abcdefgh", 5) == "abcd…"
    assert elide("", 5) == ""
