"""Footage and controls: their order, what they were made with, and films that were not finished."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from storymem.bench.encoders import BuiltinVideoEncoder
from storymem.bench.films import find_films, open_film, read_suite
from storymem.bench.make import make_controls, write_suite
from storymem.bench.naming import natural_order
from storymem.bench.score import Instruments, score_folder
from storymem.bench.suites import Suite, SuiteOptions, open_suite
from storymem.errors import FilmError
from storymem.media import read_video, write_video
from storymem.worlds.storyland.suite import StorylandSuite


def clips(folder: Path, names: list[str]) -> None:
    """Clips of a grey as light as their place in the list."""
    folder.mkdir(parents=True)
    for index, name in enumerate(names):
        write_video(folder / name, (np.full((32, 48, 3), 20 * index + 20, np.uint8) for _ in range(5)), 16)


def footage(source: Path, **options: int) -> Suite:
    return open_suite("footage", SuiteOptions(source=source, **options))


def make(folder: Path, suite: Suite, *names: str) -> list[tuple[str, str]]:
    write_suite(folder, suite)
    return list(make_controls(folder, suite, names))


@pytest.mark.parametrize("form", ["{}.mp4", "shot{}_final.mp4", "01-{}.mp4"])
def test_clips_stand_in_the_order_of_their_numbers(tmp_path: Path, form: str) -> None:
    clips(tmp_path / "clips" / "film", [form.format(number) for number in range(1, 12)])
    real = footage(tmp_path / "clips").real(0)
    assert real is not None
    assert [round((int(shot[0][0, 0, 0]) - 20) / 20) for shot in real] == list(range(11))


def test_names_stand_as_people_count() -> None:
    counted = ["1.mp4", "1-1.mp4", "01-02.mp4", "2.mp4", "10.mp4", "a9.mp4", "a10.mp4", "a10b2.mp4", "a10b10.mp4"]
    assert sorted(set(counted), key=natural_order) == counted
    plain = ["a-b.mp4", "Zoo.mp4", "a.mp4", "ab.mp4", "é.mp4"]
    assert sorted(plain, key=natural_order) == sorted(plain)


def test_the_hundredth_shot_of_a_control_is_not_the_eleventh(tmp_path: Path) -> None:
    place = tmp_path / "clips" / "film"
    place.mkdir(parents=True)
    for number in range(101):
        frames = 1 + number % 4
        write_video(place / f"{number}.mp4", (np.zeros((16, 16, 3), np.uint8) for _ in range(frames)), 16)
    make(tmp_path / "bench", footage(tmp_path / "clips"), "frozen")
    lengths = [len(list(read_video(tmp_path / "bench" / "frozen" / "film" / f"{n + 1:02d}.mkv"))) for n in range(101)]
    assert lengths == [1 + number % 4 for number in range(101)]


def test_controls_of_other_sizes_lengths_rates_or_footage_do_not_go_into_one_folder(tmp_path: Path) -> None:
    source, folder = tmp_path / "clips", tmp_path / "bench"
    for name in ("a", "b"):
        clips(source / name, ["1.mp4", "2.mp4", "3.mp4"])
    options = {"width": 32, "height": 16, "num_frames": 3}
    make(folder, footage(source, **options), "real")
    assert not make(folder, footage(source, **options), "real")  # gone on with, and finished
    for name, other in {
        "size": {"width": 48, "height": 32},
        "num_frames": {"num_frames": 5},
        "fps": {"fps": 8},
    }.items():
        with pytest.raises(FilmError, match=rf"other options \(see {name} in suite\.json\)"):
            make(folder, footage(source, **(options | other)), "frozen")
    older = read_suite(folder)
    assert older is not None
    (folder / "suite.json").write_text(json.dumps({key: older[key] for key in ("suite", "films")}))
    assert make(folder, footage(source, **options), "frozen")  # one of an earlier version is gone on with
    assert read_suite(folder) == older
    write_video(source / "b" / "2.mp4", (np.zeros((32, 48, 3), np.uint8) for _ in range(5)), 16)
    with pytest.raises(FilmError, match=r"\(see sources in suite\.json\)"):
        make(folder, footage(source, **options), "noise")


def test_the_frame_rate_of_storyland_is_one_of_its_options(tmp_path: Path) -> None:
    size = {"stories": 1, "shots": 2, "width": 48, "height": 32, "num_frames": 5}
    make(tmp_path, StorylandSuite(SuiteOptions(**size, fps=8)), "real")
    with pytest.raises(FilmError, match=r"\(see fps in suite\.json\)"):
        make(tmp_path, StorylandSuite(SuiteOptions(**size)), "noise")


def test_a_control_that_was_stopped_half_way_is_no_film(tmp_path: Path) -> None:
    source, folder = tmp_path / "clips", tmp_path / "bench"
    for name in ("a", "b"):
        clips(source / name, ["1.mp4", "2.mp4", "3.mp4"])
    make(folder, footage(source), "real", "frozen")
    half = folder / "frozen" / "b"
    (half / ".done").unlink()  # as a kill before the last shot leaves it
    (half / "03.mkv").unlink()
    scores = score_folder(folder, Instruments(BuiltinVideoEncoder()))
    assert {name: set(films) for name, films in scores["systems"].items()} == {"real": {"a", "b"}, "frozen": {"a"}}
    assert "b: this control is not finished: run the same" in scores["left_out"][0]["reason"]
    assert make(folder, footage(source), "real", "frozen") == [("frozen", "b")]
    assert not score_folder(folder, Instruments(BuiltinVideoEncoder()))["left_out"]


def test_real_films_of_others_are_films(tmp_path: Path) -> None:
    """Without a suite nobody says that a folder called real is a control of the bench."""
    clips(tmp_path / "real" / "film", ["1.mp4", "2.mp4"])
    ((system, story, place),) = find_films(tmp_path)
    assert len(open_film(tmp_path, system, story, place).shots) == 2
