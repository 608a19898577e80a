from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import toys

from storymem.errors import MediaError, SettingsError
from storymem.media import probe_video, write_video
from storymem.memory.encoders import load_encoder, load_scorer
from storymem.training.footage import FootageSettings, FootageSource, read_clips, write_clips
from storymem.training.prepare import detect_shots, find_videos, group_related, prepare_footage, windows_of
from storymem.training.run import train

SETTINGS = FootageSettings(width=32, height=32, num_frames=5, fps=8)


def shot(rng: np.random.Generator, colour: tuple[float, float, float], frames: int) -> np.ndarray:
    """A textured ground with a square that moves: ``[F, 3, 64, 96]``."""
    ground = np.array(colour, dtype=np.float32)[:, None, None] * 0.6 + rng.normal(0, 0.25, (3, 64, 96))
    out = np.repeat(ground[None], frames, axis=0).astype(np.float32)
    for i in range(frames):
        out[i, :, 20:44, 10 + i : 34 + i] = -np.array(colour, dtype=np.float32)[:, None, None]
    return np.clip(out, -1, 1)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five shots at 16 fps; the first and the fourth are of one place, and so are the second and the last."""
    rng = np.random.default_rng(0)
    red, blue = (0.9, -0.6, -0.6), (-0.8, -0.2, 0.9)
    plan = ((red, 24), (blue, 28), ((0.7, 0.7, -0.9), 6), (red, 24), (blue, 24))
    shots = [shot(rng, colour, count) for colour, count in plan]
    path = tmp_path_factory.mktemp("footage") / "my film!.mp4"
    write_video(path, iter(np.concatenate(shots)), 16)
    return path


@pytest.fixture(scope="module")
def prepared(video: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prepared")
    prepare(video, folder)
    return folder


def prepare(video: Path, folder: Path, **options: object) -> object:
    return prepare_footage(
        [video], folder, SETTINGS, encoder=load_encoder("builtin"), scorer=None, similarity=0.7, **options
    )


def test_shots_are_found_to_the_frame(video: Path) -> None:
    assert detect_shots(video) == [(0, 24), (24, 52), (52, 58), (58, 82), (82, 106)]


def test_windows_lie_inside_the_shot_and_apart() -> None:
    times = [i / 16 for i in range(106)]
    assert windows_of(24, 52, times, SETTINGS, 1) == [(33, 35, 37, 39, 41)]
    two = windows_of(24, 52, times, SETTINGS, 9)
    assert len(two) == 2
    assert two[0][-1] < two[1][0]
    assert two[0][0] >= 26
    assert two[-1][-1] <= 49
    assert windows_of(52, 58, times, SETTINGS, 1) == []
    slow = windows_of(
        0, 30, [i / 4 for i in range(30)], SETTINGS, 1
    )  # footage slower than the clip: frames stand twice
    assert slow[0] == tuple(slow[0][0] + offset for offset in (0, 0, 1, 2, 2))


def test_a_clip_is_that_part_of_the_video(prepared: Path, video: Path) -> None:
    clips = read_clips(prepared)
    assert [clip.id.rsplit("-", 1)[0].rsplit("-", 1)[0] for clip in clips] == ["my-film"] * 4
    info = probe_video(prepared / "clips" / f"{clips[1].id}.mp4")
    assert (info.width, info.height, info.num_frames, info.fps) == (32, 32, 5, 8)
    source = FootageSource(prepared, 32, 32, 5)
    assert sum(source.size(index) for index in range(len(source))) == 4
    first = next(clip.frames for index in range(len(source)) for clip in source.group(index)[:1])
    assert first.shape == (3, 5, 32, 32)
    assert -1 <= first.min() < first.max() <= 1


def test_shots_of_one_place_are_a_group(prepared: Path) -> None:
    clips = read_clips(prepared)
    assert [clip.group for clip in clips] == [0, 1, 0, 1]


def test_groups_stay_small_and_join_the_nearest_first() -> None:
    angles = np.array([0, 1, 3, 4.2, 40, 41.4, 90]) * np.pi / 180
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    whole = group_related(embeddings, similarity=0.99, largest=16)
    assert whole.groups == whole.scenes == [0, 0, 0, 0, 1, 1, 2]
    parts = group_related(embeddings, similarity=0.99, largest=2)
    assert (parts.groups, parts.scenes) == ([0, 0, 1, 1, 2, 2, 3], whole.scenes)
    few = group_related(embeddings, similarity=0.99, largest=2, neighbours=1, together=[[4, 6], [0]])
    assert few.scenes == [0, 0, 0, 0, 1, 1, 1]
    assert group_related(embeddings[:1], similarity=0.9, largest=4).groups == [0]


def test_what_lies_between_does_not_make_one_scene_of_all() -> None:
    angles = np.arange(0, 181, 30) * np.pi / 180  # each is like the next one
    chain = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    found = group_related(chain, similarity=0.8, largest=2)
    assert len(set(found.scenes)) > 1
    assert found.scenes[0] != found.scenes[-1]
    near = np.stack([np.cos(angles / 2), np.sin(angles / 2)], axis=1)  # the next one shows the same
    assert set(group_related(near, similarity=0.8, largest=2).scenes) == {0}


def test_bad_clips_are_dropped(video: Path, tmp_path: Path) -> None:
    class Strict:
        name = identity = "strict"
        default_threshold = 0.0

        def score(self, frames: np.ndarray) -> np.ndarray:
            return frames[:, 0].mean(axis=(1, 2))  # likes red

    report = prepare_footage([video], tmp_path, SETTINGS, encoder=load_encoder("builtin"), scorer=Strict())
    assert (report.shots, report.too_short, report.too_bad, report.clips) == (5, 1, 2, 2)
    assert all(clip.quality is not None and clip.quality > 0 for clip in read_clips(tmp_path))


def test_captions_stay_when_footage_is_added(video: Path, tmp_path: Path) -> None:
    prepare(video, tmp_path)
    clips = read_clips(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "clips.jsonl").read_text().splitlines()]
    lines[2]["captions"] = ["A red place."]
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    more = tmp_path / "more.mp4"
    write_video(more, iter(shot(np.random.default_rng(5), (-0.9, 0.9, -0.3), 24)), 16)
    report = prepare_footage(
        [more, video], tmp_path, SETTINGS, encoder=load_encoder("builtin"), scorer=load_scorer("none")
    )
    assert (report.clips, report.captioned) == (5, 1)
    again = {clip.id: clip.captions for clip in read_clips(tmp_path)}
    assert again[clips[2].id] == ("A red place.",)


def test_mistakes_are_told(prepared: Path, video: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"4 of 4 clips have no caption"):
        FootageSource(prepared, 32, 32, 5).require_captions()
    with pytest.raises(SettingsError, match=r"its clips have 5 frames, but data\.num_frames is 9"):
        FootageSource(prepared, 32, 32, 9)
    with pytest.raises(SettingsError, match=r"prepare\.json: cannot be read"):
        FootageSource(tmp_path, 32, 32, 5)
    with pytest.raises(SettingsError, match="prepared with other settings"):
        prepare_footage([video], prepared, FootageSettings(48, 32, 5, 8), encoder=load_encoder("builtin"), scorer=None)
    with pytest.raises(MediaError, match="there is no such video or folder"):
        find_videos([tmp_path / "none"])
    with pytest.raises(MediaError, match="no videos there"):
        find_videos([tmp_path])
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    with pytest.raises(MediaError, match=r"bad\.mp4"):
        detect_shots(tmp_path / "bad.mp4")
    good = {"id": "x", "group": 0, "source": "", "first_frame": 0, "last_frame": 1, "quality": None, "captions": []}
    for values, message in (
        ({"id": 1}, "clips.jsonl:1: is not a clip"),
        (good | {"id": "../x"}, "none of ours"),
        (good | {"captions": "a"}, "captions must be a list"),
        (good | {"group": "x"}, "clips.jsonl:1: group must be a number"),
        (good | {"id": 7}, "clips.jsonl:1: id must be a text"),
        (good | {"captions": ["a fox \ud83d"]}, r"clips.jsonl:1: has half a character \('\\ud83d'\)"),
    ):
        (tmp_path / "clips.jsonl").write_text(json.dumps(values) + "\n")
        with pytest.raises(SettingsError, match=message):
            read_clips(tmp_path)


def test_a_clip_cannot_be_listed_twice(prepared: Path, tmp_path: Path) -> None:
    first, second, *_ = read_clips(prepared)
    write_clips(tmp_path, [first, second, replace(first, captions=("Again.",))])
    with pytest.raises(SettingsError, match=rf"clips\.jsonl:3: the id {first.id} is that of line 1 too"):
        read_clips(tmp_path)


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85", "\x0c"])
def test_captions_may_have_any_line_end(prepared: Path, tmp_path: Path, end: str) -> None:
    clips = [replace(clip, captions=(f"A fox.{end}It runs.",)) for clip in read_clips(prepared)]
    write_clips(tmp_path, clips)
    assert read_clips(tmp_path) == clips


def test_footage_can_be_trained_on(prepared: Path, tmp_path: Path) -> None:
    clips = [replace(clip, captions=(f"place {i % 2}",)) for i, clip in enumerate(read_clips(prepared))]
    write_clips(prepared, clips)
    overrides = (f"model={toys.CHECKPOINT}", "expert=low", "steps=2", "conditioning={max_memory: 3}")

    def config(output: Path) -> Any:
        return toys.on_footage(toys.MEMORY, prepared, output, *overrides, data="keyframes_per_clip: 3")

    train(config(tmp_path / "a"))
    (latents,) = prepared.glob("latents-*")
    assert sorted(path.stem for path in latents.iterdir()) == sorted([*(clip.id for clip in clips), "blank"])
    assert len(list(next(prepared.glob("text-*")).iterdir())) == 3  # two captions and the empty prompt
    before = {path: path.stat().st_mtime_ns for path in latents.iterdir()}
    train(config(tmp_path / "b"))  # from the files, encoding nothing
    assert {path: path.stat().st_mtime_ns for path in latents.iterdir()} == before
    assert toys.losses(tmp_path / "a") == toys.losses(tmp_path / "b")
    assert (tmp_path / "b" / "lora" / "backbone_low_noise.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_real_film(tmp_path: Path) -> None:
    """Big Buck Bunny (CC BY 3.0, Blender Foundation) from moviepy's sources, if a package index can be reached."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    command += ["--no-build-isolation", "--dest", str(tmp_path), "moviepy==2.2.1"]
    if subprocess.run(command, check=False, capture_output=True, timeout=200).returncode:
        pytest.skip("moviepy's sources cannot be downloaded here")
    with tarfile.open(next(tmp_path.glob("moviepy-*.tar.gz"))) as archive:
        name = next(name for name in archive.getnames() if name.endswith("moviepy_10_minutes.zip"))
        member = archive.extractfile(name)
        assert member is not None
        with zipfile.ZipFile(member) as inner, inner.open("moviepy_10_minutes/resources/bbb.mp4") as file:
            video = tmp_path / "bbb.mp4"
            video.write_bytes(file.read())
    report = prepare_footage(
        [video],
        tmp_path / "data",
        FootageSettings(224, 128, 17, 16),
        encoder=load_encoder("builtin"),
        scorer=load_scorer("builtin"),
        similarity=0.8,
    )
    # 134 cuts by TransNetV2; credits and fades are where detectors differ.
    assert 100 <= report.shots <= 170
    assert 70 <= report.clips <= report.shots
    assert report.groups >= 10
    source = FootageSource(tmp_path / "data", 224, 128, 17)
    largest = max(range(len(source)), key=source.size)
    assert source.size(largest) <= 16
    assert source.group(largest)[0].frames.shape == (3, 17, 128, 224)
