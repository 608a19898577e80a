"""Preparing footage once more: nothing is done twice, nothing taken out comes back, nobody else is at it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from storymem.errors import FilmLockedError, MediaError, SettingsError
from storymem.media import write_video
from storymem.memory.encoders import load_encoder
from storymem.training import prepare
from storymem.training.config import parse_config
from storymem.training.footage import FootageSettings, read_clips, write_clips
from storymem.training.prepare import PrepareReport, find_videos, prepare_footage
from storymem.training.stages import encode_footage
from storymem.training.videos import VideoList

SETTINGS = FootageSettings(width=32, height=32, num_frames=5, fps=8)


class Brightness:
    """A scorer."""

    name = "brightness"
    default_threshold = -9.0

    def __init__(self, identity: str = "brightness") -> None:
        self.identity = identity

    def score(self, frames: np.ndarray) -> np.ndarray:
        return np.asarray(frames.mean(axis=(1, 2, 3)))


class Corner:
    """An encoder that is not the built-in one."""

    name = identity = "corner"
    dim = 3

    def encode(self, frames: np.ndarray) -> np.ndarray:
        found = np.asarray(frames[:, :, 0, 0]) + 1.5
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two videos of two shots, of which each gives a clip, or two."""
    folder = tmp_path_factory.mktemp("footage")
    for seed, name in enumerate(("a.mp4", "b.mp4")):
        rng = np.random.default_rng(seed)
        first = np.array((0.6, -0.5, -0.5))[:, None, None] + rng.normal(0, 0.2, (3, 48, 64))
        shots = [np.clip(ground, -1, 1).astype(np.float32) for ground in (first, first[::-1])]
        write_video(folder / name, iter([ground for ground in shots for _ in range(24)]), 16)
    return [folder / "a.mp4", folder / "b.mp4"]


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the videos in which shots are looked for; that comes before all other work."""
    seen: list[str] = []
    find = prepare.find_shots

    def look(path: Path) -> object:
        seen.append(path.name)
        return find(path)

    monkeypatch.setattr(prepare, "find_shots", look)
    return seen


def run(videos: list[Path], folder: Path, **options: object) -> PrepareReport:
    options = {"encoder": load_encoder("builtin"), "scorer": None} | options
    return prepare_footage(videos, folder, SETTINGS, **options)  # type: ignore[arg-type]


def ids(folder: Path) -> list[str]:
    return [clip.id for clip in read_clips(folder)]


def take_out(folder: Path, *gone: str) -> None:
    write_clips(folder, [clip for clip in read_clips(folder) if clip.id not in gone])


def test_a_video_is_not_prepared_twice(videos: list[Path], tmp_path: Path, looked: list[str]) -> None:
    data, counts = tmp_path / "data", list[tuple[str, int]]()
    run(videos[:1], data)
    run(videos, data)
    assert looked == ["a.mp4", "b.mp4"]
    before, clips = {path: path.stat().st_mtime_ns for path in (data / "clips").iterdir()}, read_clips(data)
    report = run(videos, data, on_video=lambda path, count: counts.append((path.name, count)))
    assert looked == ["a.mp4", "b.mp4"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert read_clips(data) == clips
    assert counts == [("a.mp4", 2), ("b.mp4", 2)]
    assert (report.as_before, report.shots, report.clips, report.left_out) == (2, 0, 4, 0)

    moved = tmp_path / "moved" / "a.mp4"  # the same content under the same name
    moved.parent.mkdir()
    moved.write_bytes(videos[0].read_bytes())
    for _ in range(2):
        assert run([moved], data).as_before == 1
    assert len(looked) == 2
    os.utime(moved, (1, 1))
    assert run([moved], data).as_before == 1  # it only looks changed
    moved.write_bytes(videos[1].read_bytes())
    assert run([moved], data).as_before == 0
    assert looked == ["a.mp4", "b.mp4", "a.mp4"]


def test_groups_are_made_anew_all_the_same(videos: list[Path], tmp_path: Path, looked: list[str]) -> None:
    run(videos, tmp_path, similarity=0.9999)
    assert len({clip.group for clip in read_clips(tmp_path)}) > 1
    run(videos, tmp_path, similarity=-1.0)
    assert len({clip.group for clip in read_clips(tmp_path)}) == 1
    run(videos, tmp_path, encoder=Corner())  # which embeds the clips that are there
    assert len(list(tmp_path.glob("embeddings-*"))) == 2
    assert all(len(list(folder.iterdir())) == 4 for folder in tmp_path.glob("embeddings-*"))
    assert len(looked) == 2


def test_clips_that_were_taken_out_stay_out(videos: list[Path], tmp_path: Path, looked: list[str]) -> None:
    run(videos, tmp_path)
    gone, *kept = ids(tmp_path)
    take_out(tmp_path, gone)
    for options in ({}, {"scorer": Brightness()}, {}):
        run(videos, tmp_path, **options)
        assert gone not in ids(tmp_path)
        assert set(kept) <= set(ids(tmp_path))
    assert len(looked) == 6
    line = next(line for line in (tmp_path / "videos.jsonl").read_text().splitlines() if gone in line)
    rest = (tmp_path / "videos.jsonl").read_text().replace(line + "\n", "")
    (tmp_path / "videos.jsonl").write_text(rest)
    run(videos, tmp_path)
    assert gone in ids(tmp_path)  # as the manual says
    (tmp_path / "clips.jsonl").unlink()
    assert run(videos, tmp_path).as_before == 0
    assert ids(tmp_path) == sorted([gone, *kept])


def test_what_would_come_out_otherwise_is_done_again(videos: list[Path], tmp_path: Path, looked: list[str]) -> None:
    one = videos[:1]
    for options, works in (
        ({}, True),
        ({}, False),
        ({"scorer": Brightness()}, True),
        ({"scorer": Brightness()}, False),
        ({"scorer": Brightness("another")}, True),
        ({"scorer": Brightness("another"), "min_quality": 9.0}, True),
        ({}, True),
        ({"clips_per_shot": 2}, True),
    ):
        looked.clear()
        report = run(one, tmp_path, **options)
        assert (looked, report.as_before) == (["a.mp4"] if works else [], int(not works)), options
        assert report.clips == (0 if "min_quality" in options else 2)


@pytest.mark.parametrize("name", ["clips", "thumbnails"])
def test_a_file_that_is_gone_is_made_again(videos: list[Path], tmp_path: Path, looked: list[str], name: str) -> None:
    run(videos, tmp_path)
    gone = next(path for path in sorted((tmp_path / name).iterdir()) if path.name.startswith("a-"))
    gone.unlink()
    looked.clear()
    assert run(videos, tmp_path).as_before == 1
    assert looked == ["a.mp4"]
    assert gone.is_file()


def test_clips_that_were_hidden_come_when_the_others_are_taken_out(
    videos: list[Path], tmp_path: Path, looked: list[str]
) -> None:
    data, copy, told = tmp_path / "data", tmp_path / "copy.mp4", list[str]()
    copy.write_bytes(videos[0].read_bytes())
    run(videos[:1], data)
    for _ in range(2):
        run([copy], data, on_trouble=told.append)
    assert len(told) == 2  # each time, but it is looked through once
    assert looked == ["a.mp4", "copy.mp4"]
    take_out(data, *ids(data)[:1])
    assert run([*videos[:1], copy], data).clips == 2
    assert sorted(clip.source for clip in read_clips(data)) == ["a.mp4", "copy.mp4"]


def test_a_folder_that_was_prepared_before_there_was_a_list_of_videos(
    videos: list[Path], tmp_path: Path, looked: list[str]
) -> None:
    run(videos, tmp_path)
    clips = read_clips(tmp_path)
    (tmp_path / "videos.jsonl").unlink()
    lines = [json.loads(line) for line in (tmp_path / "clips.jsonl").read_text().splitlines()]
    for line in lines:
        del line["scene"]
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert {clip.scene for clip in read_clips(tmp_path)} == {None}
    assert run(videos, tmp_path).as_before == 0
    assert read_clips(tmp_path) == clips
    assert run(videos, tmp_path).as_before == 2
    assert len(looked) == 4


def test_a_damaged_list_of_videos_is_told(videos: list[Path], tmp_path: Path) -> None:
    run(videos, tmp_path)
    path = tmp_path / "videos.jsonl"
    whole = path.read_text()
    path.write_text(whole[:-9])
    with pytest.raises(SettingsError, match=r"videos\.jsonl:2: is not a video \(.*; remove the line"):
        run(videos, tmp_path)
    path.write_text(whole.splitlines()[0] + "\n")  # the remedy
    assert run(videos, tmp_path).as_before == 1
    assert path.read_text() == whole


def test_two_at_once_are_refused(videos: list[Path], tmp_path: Path) -> None:
    data = tmp_path / "data"
    run(videos[:1], data)
    before = (data / "clips.jsonl").read_bytes()
    code = "import sys; from pathlib import Path; from storymem.film.lock import locked\n"
    code += "with locked(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(data)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(FilmLockedError, match=rf"data: process {other.pid} on .* is working in this folder: wait"):
            run(videos, data)
        config = f"stage: memory\noutput: {tmp_path}\nsteps: 1\nmodel: m\ndata: {{folder: '{data}', num_frames: 5}}\n"
        with pytest.raises(FilmLockedError, match="is working in this folder"):
            encode_footage(parse_config(config, "test.yaml"))
        assert (data / "clips.jsonl").read_bytes() == before
        other.communicate()
    assert run(videos, data).clips == 4


def test_videos_of_cameras_and_behind_links_are_found(tmp_path: Path) -> None:
    footage, elsewhere = tmp_path / "footage", tmp_path / "elsewhere"
    for name in ("b.mp4", "day/c.MTS", "day/d.m2ts", "day/e.ts", "f.MXF", "g.3gp", "h.wmv", "i.txt", "z/j.mp4"):
        (footage / name).parent.mkdir(parents=True, exist_ok=True)
        (footage / name).touch()
    (elsewhere / "more").mkdir(parents=True)
    (elsewhere / "k.mp4").touch()
    (elsewhere / "more" / "l.mov").touch()
    names = ["b.mp4", "day/c.MTS", "day/d.m2ts", "day/e.ts", "f.MXF", "g.3gp", "h.wmv", "z/j.mp4"]
    assert find_videos([footage]) == [footage / name for name in names]
    (footage / "a").symlink_to(footage / "z")  # already looked through, and under that name it stays
    (footage / "day" / "up").symlink_to(footage)
    (footage / "c-linked").symlink_to(elsewhere)
    (elsewhere / "more" / "round").symlink_to(elsewhere)
    (footage / "nowhere").symlink_to(tmp_path / "not there")
    found = ["b.mp4", "c-linked/k.mp4", "c-linked/more/l.mov", *names[1:]]
    assert find_videos([footage]) == [footage / name for name in found]
    (footage / "data").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "clips").mkdir(parents=True)
    (tmp_path / "data" / "clips" / "m.mp4").touch()
    assert find_videos([footage], tmp_path / "data") == [footage / name for name in found]
    with pytest.raises(MediaError, match=r"no videos there; looked for .*\.mts"):
        find_videos([tmp_path / "data"], tmp_path / "data")


def test_latents_of_other_pixels_go(videos: list[Path], tmp_path: Path) -> None:
    run(videos[:1], tmp_path)
    latents = [tmp_path / "latents-of-some-vae" / f"{clip_id}.safetensors" for clip_id in ids(tmp_path)]
    latents[0].parent.mkdir()
    for path in latents:
        path.write_bytes(b"numbers")
    (tmp_path / "videos.jsonl").unlink()  # as in a folder of before there was such a list
    assert run(videos[:1], tmp_path).as_before == 0
    assert all(path.is_file() for path in latents)  # the same pixels
    clip = tmp_path / "clips" / f"{ids(tmp_path)[0]}.mp4"
    whole = clip.read_bytes()
    clip.write_bytes(whole + b"otherwise")  # as if it had been cut by another version
    (tmp_path / "videos.jsonl").unlink()
    run(videos[:1], tmp_path)
    assert clip.read_bytes() == whole
    assert [path.is_file() for path in latents] == [False, True]
    assert {path.stem for path in (tmp_path / "clips").iterdir()} == set(ids(tmp_path))


def test_clips_cut_with_other_options_are_not_forgotten(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    shots = [rng.uniform(-1, 1, (3, 48, 64)).astype(np.float32) for _ in range(2)]
    video, data = tmp_path / "long.mp4", tmp_path / "data"
    write_video(video, iter([ground for ground in shots for _ in range(60)]), 16)
    run([video], data)
    alone = ids(data)
    run([video], data, clips_per_shot=2)
    assert set(alone) < set(ids(data))
    of_shots = VideoList(data).shots(read_clips(data))
    assert [len(shot) for shot in of_shots] == [3, 3]
    assert run([video], data, clips_per_shot=2).as_before == 1
    take_out(data, *alone)
    run([video], data)
    assert not set(alone) & set(ids(data))


def test_clips_without_a_file_are_told(videos: list[Path], tmp_path: Path) -> None:
    said: list[str] = []
    run(videos, tmp_path)
    gone = ids(tmp_path)[0]
    (tmp_path / "clips" / f"{gone}.mp4").unlink()
    run(videos[1:], tmp_path, on_trouble=said.append)  # not the video that it is of
    assert said == [
        f"of 1 listed clips the file is gone, such as {gone}: take their lines out of clips.jsonl, or prepare their "
        "videos with the options that they were cut with."
    ]
    said.clear()
    run(videos, tmp_path, on_trouble=said.append)
    assert not said
    assert (tmp_path / "clips" / f"{gone}.mp4").is_file()
