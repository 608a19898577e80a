"""Preparing footage while people write captions, with damaged videos, on a disk that fills up."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from storymem.errors import MediaError, SettingsError, StorageError
from storymem.media import read_video, write_video
from storymem.memory.encoders import load_encoder
from storymem.training import prepare
from storymem.training.footage import FootageSettings, read_clips, write_clips
from storymem.training.grouping import Grouping
from storymem.training.prepare import PrepareReport, detect_shots, find_videos, prepare_footage

SETTINGS = FootageSettings(width=32, height=32, num_frames=5, fps=8)


class Strict:
    """A scorer that likes red."""

    name = identity = "strict"
    default_threshold = 0.0

    def score(self, frames: np.ndarray) -> np.ndarray:
        return np.asarray(frames[:, 0].mean(axis=(1, 2)))


def film(path: Path, seed: int, codec: str = "h264") -> Path:
    """Two shots of 24 frames at 16 fps: the first is red, the second blue."""
    rng = np.random.default_rng(seed)
    grounds = [np.array(colour)[:, None, None] + rng.normal(0, 0.2, (3, 48, 64)) for colour in ((0.6, -0.5, -0.5),) * 2]
    grounds[1] = grounds[1][::-1]
    frames = [np.clip(ground, -1, 1).astype(np.float32) for ground in grounds for _ in range(24)]
    write_video(path, iter(frames), 16, codec=codec)  # type: ignore[arg-type]
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two videos; each gives two clips."""
    folder = tmp_path_factory.mktemp("footage")
    return [film(folder / "a.mp4", 0), film(folder / "b.mp4", 1)]


def run(videos: list[Path], folder: Path, **options: object) -> PrepareReport:
    options = {"encoder": load_encoder("builtin"), "scorer": None} | options
    return prepare_footage(videos, folder, SETTINGS, **options)  # type: ignore[arg-type]


def caption(folder: Path, clip_id: str, text: str) -> None:
    """What somebody does who writes a caption."""
    write_clips(folder, [replace(c, captions=(text,)) if c.id == clip_id else c for c in read_clips(folder)])


def captions(folder: Path) -> dict[str, tuple[str, ...]]:
    return {clip.id: clip.captions for clip in read_clips(folder)}


def after(*steps: Callable[[], object]) -> Callable[[Path, int], None]:
    """Do something after the first video, the second, and so on."""
    waiting = list(steps)
    return lambda path, count: waiting.pop(0)() if waiting else None  # type: ignore[return-value]


def test_clips_of_finished_videos_are_listed_when_the_disk_is_full(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_disk() -> None:
        def refuse(path: Path, *arguments: object, **options: object) -> None:
            raise StorageError(path, OSError(28, "No space left on device"))

        monkeypatch.setattr(prepare, "write_video", refuse)

    with pytest.raises(StorageError):
        run(videos, tmp_path, on_video=after(fill_disk))
    clips = read_clips(tmp_path)
    assert [clip.source for clip in clips] == ["a.mp4", "a.mp4"]
    assert len({clip.group for clip in clips}) == 2  # alone until all videos are there
    monkeypatch.undo()
    assert run(videos, tmp_path).clips == 4


def test_what_is_written_into_the_list_meanwhile_stays(videos: list[Path], tmp_path: Path) -> None:
    run(videos[:1], tmp_path)
    first, second = (clip.id for clip in read_clips(tmp_path))

    def write() -> None:
        caption(tmp_path, first, "A red place.")
        write_clips(tmp_path, [clip for clip in read_clips(tmp_path) if clip.id != second])

    report = run(videos, tmp_path, on_video=after(write))
    assert captions(tmp_path)[first] == ("A red place.",)
    assert second not in captions(tmp_path)  # its line was taken away
    assert (report.clips, report.captioned) == (3, 1)


def test_captions_written_while_groups_are_made_stay(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(videos, tmp_path)
    clip = read_clips(tmp_path)[0].id

    def group(embeddings: np.ndarray, **options: object) -> Grouping:
        caption(tmp_path, clip, "A red place.")
        return Grouping([7] * len(embeddings), [3] * len(embeddings))

    monkeypatch.setattr(prepare, "group_related", group)
    run(videos, tmp_path)
    assert captions(tmp_path)[clip] == ("A red place.",)
    assert {(clip.group, clip.scene) for clip in read_clips(tmp_path)} == {(7, 3)}


def test_a_list_in_the_middle_of_being_edited_is_left_alone(videos: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "clips.jsonl"
    whole, troubles, seen = "", list[str](), list[str]()

    def spoil() -> None:
        nonlocal whole
        whole = path.read_text()
        path.write_text(whole[:-5])

    def mend() -> None:
        seen.append(path.read_text())
        path.write_text(whole)

    report = run(videos, tmp_path, on_video=after(spoil, mend), on_trouble=troubles.append)
    assert seen == [whole[:-5]]
    assert len(troubles) == 1
    assert f"clips of {videos[1]} are not listed yet: {path}:2: is not a clip" in troubles[0]
    assert report.clips == len(read_clips(tmp_path)) == 4

    again = run(videos, tmp_path, on_video=after(lambda: path.write_text("")))  # as some editors do before they write
    assert again.clips == len(read_clips(tmp_path)) == 4
    with pytest.raises(SettingsError, match=r"clips\.jsonl:4: is not a clip"):
        run(videos, tmp_path, on_video=after(lambda: None, spoil))
    assert path.read_text() == whole[:-5]


def test_a_damaged_video_is_left_out_whole_and_the_others_are_not(videos: list[Path], tmp_path: Path) -> None:
    none = tmp_path / "none.mp4"
    none.write_bytes(b"no video")
    late = film(tmp_path / "late.mkv", 2, "ffv1")
    content = bytearray(late.read_bytes())
    for share in (0.66, 0.68, 0.7, 0.72):  # in the clip of the second shot; that of the first is cut by then
        content[int(len(content) * share)] ^= 255
    late.write_bytes(content)
    told, counts = list[str](), list[tuple[Path, int]]()
    report = run(
        [none, late, *videos],
        tmp_path / "data",
        on_trouble=told.append,
        on_video=lambda *video: counts.append(video),
    )
    assert (report.left_out, report.shots, report.clips) == (2, 4, 4)
    assert counts == [(path, 2) for path in videos]
    assert [message.split(": ")[:2] for message in told] == [["left out", str(none)], ["left out", str(late)]]
    assert "checksum is wrong" in told[1]
    assert {clip.source for clip in read_clips(tmp_path / "data")} == {"a.mp4", "b.mp4"}
    assert not list((tmp_path / "data").rglob("late*"))


def test_the_command_prepares_the_rest_and_ends_with_code_2(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from storymem.cli import main

    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    output = tmp_path / "data"
    command = ["storymem", "data", "prepare", str(bad), str(videos[0]), "-o", str(output), "--scorer", "none"]
    monkeypatch.setattr("sys.argv", [*command, "--size", "32x32", "--num-frames", "5", "--fps", "8"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    shown = capsys.readouterr()
    left_out, error = shown.err.splitlines()
    assert left_out.startswith(f"left out: {bad}: the video is damaged or cannot be read")
    assert error.startswith("error: 1 of 2 videos could not be read and were left out")
    assert f"2 clips in {output}" in shown.out
    assert len(read_clips(output)) == 2


def test_videos_that_cannot_be_decoded_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = film(tmp_path / "a.mkv", 0, "ffv1")
    path.write_bytes(path.read_bytes().replace(b"V_FFV1", b"V_XXXX"))
    with pytest.raises(MediaError, match=r"a\.mkv: the video's codec is not known here"):
        detect_shots(path)
    path = film(tmp_path / "b.mp4", 0)
    content = path.read_bytes()
    begin = content.index(b"mdat") + 4
    path.write_bytes(content[:begin] + bytes(len(content) - begin))
    with caplog.at_level(logging.DEBUG), pytest.raises(MediaError, match=r"b\.mp4: the video is damaged"):
        detect_shots(path)
    assert not caplog.records  # once, and with its name


def test_a_clip_with_captions_stays_whatever_its_score(videos: list[Path], tmp_path: Path) -> None:
    run(videos, tmp_path)
    blue = [clip.id for clip in read_clips(tmp_path) if clip.first_frame > 24]
    caption(tmp_path, blue[0], "A blue place.")
    counts: list[int] = []
    report = run(videos, tmp_path, scorer=Strict(), on_video=lambda path, count: counts.append(count))
    kept = {clip.id: clip for clip in read_clips(tmp_path)}
    assert kept[blue[0]].captions == ("A blue place.",)
    quality = kept[blue[0]].quality
    assert quality is not None
    assert quality < 0
    assert blue[1] not in kept
    assert (report.clips, report.too_bad) == (3, 1)
    assert sorted(counts) == [1, 2]

    late = run(videos, tmp_path / "late")
    assert late.clips == 4
    (chosen, *_) = [
        clip.id for clip in read_clips(tmp_path / "late") if clip.first_frame > 24 and clip.source[0] == "b"
    ]
    write = after(lambda: caption(tmp_path / "late", chosen, "Blue."))  # after it was read for the first time
    assert run(videos, tmp_path / "late", scorer=Strict(), on_video=write).captioned == 1


def test_the_output_is_no_footage(tmp_path: Path) -> None:
    output = tmp_path / "footage" / "data"
    for name in ("a.mp4", "more/b.mov", "data/clips/c.mp4", "data/raw/d.mp4"):
        (tmp_path / "footage" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "footage" / name).touch()
    footage = tmp_path / "footage"
    assert find_videos([footage], output) == [footage / "a.mp4", footage / "more" / "b.mov"]
    assert find_videos([footage], footage / "more" / ".." / "data") == [footage / "a.mp4", footage / "more" / "b.mov"]
    assert find_videos([output], output) == [output / "raw" / "d.mp4"]
    assert find_videos([output / "raw"], output) == [output / "raw" / "d.mp4"]
    assert find_videos([output / "clips" / "c.mp4"], output) == [output / "clips" / "c.mp4"]  # named on purpose
    with pytest.raises(MediaError, match="no videos there"):
        find_videos([output / "clips"], output)


def test_the_command_leaves_its_output_out(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from storymem.cli import main

    (tmp_path / "a.mp4").write_bytes(videos[0].read_bytes())
    command = ["storymem", "data", "prepare", str(tmp_path), "-o", str(tmp_path / "data"), "--scorer", "none"]
    monkeypatch.setattr("sys.argv", [*command, "--size", "32x32", "--num-frames", "5", "--fps", "8"])
    for before in (0, 1):
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
        said = capsys.readouterr().out
        assert said.startswith(f"{tmp_path / 'a.mp4'}: 2 clips\n2 clips in")
        assert said.count("1 of 1 videos had been prepared before.") == before


@pytest.mark.parametrize("content", [b'{"width": 32, "hei', b"\xff", b"[]", b'{"width": 32}'])
def test_damaged_settings_are_told(content: bytes, videos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "prepare.json").write_bytes(content)
    with pytest.raises(SettingsError, match=r"prepare\.json: cannot be read \(.*\): remove it if"):
        run(videos, tmp_path)
    assert (tmp_path / "prepare.json").read_bytes() == content
    (tmp_path / "prepare.json").unlink()  # the remedy
    run(videos[:1], tmp_path)
    assert json.loads((tmp_path / "prepare.json").read_text())["width"] == 32


def test_a_damaged_embedding_is_made_again(videos: list[Path], tmp_path: Path) -> None:
    run(videos, tmp_path)
    made = {path: path.read_bytes() for path in tmp_path.glob("embeddings-*/*.npy")}
    assert len(made) == 4
    first, second, third, _ = made
    first.write_bytes(b"")
    second.write_bytes(made[second][:-1])
    third.write_bytes(b"no array")
    run(videos, tmp_path)
    again = {path: path.read_bytes() for path in made}
    assert all(len(again[path]) == len(made[path]) for path in made)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clips_per_shot": 0}, "clips_per_shot is 0; it must be 1 or more"),
        ({"clips_per_shot": -1}, "clips_per_shot is -1"),
        ({"largest_group": 0}, "largest_group is 0"),
        ({"similarity": float("nan")}, "similarity is nan; it must be a number"),
        ({"min_quality": float("nan")}, "min_quality is nan"),
        ({"min_quality": 99}, "min_quality is 99, but nothing scores the clips: leave it out, or choose a scorer"),
    ],
)
def test_numbers_that_cannot_be_are_told(
    options: dict[str, float], message: str, videos: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=message):
        run(videos, tmp_path / "data", **options)
    assert not (tmp_path / "data").exists()


def test_no_clip_shows_the_frames_of_another(videos: list[Path], tmp_path: Path) -> None:
    data, copy, told = tmp_path / "data", tmp_path / "a copy.mp4", list[str]()
    run(videos[:1], data)
    before = read_clips(data)
    copy.write_bytes(videos[0].read_bytes())
    report = run([copy], data, on_trouble=told.append)
    assert read_clips(data) == before
    assert (report.shots, report.clips) == (2, 2)
    assert told == [
        f"{copy}: 2 clips are left out, because clips that are listed show the same frames: remove the lines of those "
        "to have these."
    ]
    run([videos[0], copy], data, clips_per_shot=2)
    clips = read_clips(data)
    assert set(before) <= {replace(clip, group=old.group, scene=old.scene) for clip in clips for old in before}
    spans = sorted((clip.first_frame, clip.last_frame) for clip in clips)
    assert all(one[1] < other[0] for one, other in itertools.pairwise(spans))
    assert {path.stem for path in (data / "clips").iterdir()} == {clip.id for clip in clips}


def test_a_name_that_is_no_utf8_is_listed(videos: list[Path], tmp_path: Path) -> None:
    odd = tmp_path / "a\udcff.mp4"
    odd.write_bytes(videos[0].read_bytes())
    run([odd], tmp_path / "data")
    assert [clip.source for clip in read_clips(tmp_path / "data")] == ["a?.mp4"] * 2


@pytest.mark.parametrize("name", ["2024", "a: b", "data #2", "true", "*x"])
def test_a_folder_to_encode_may_have_any_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from storymem.cli import main
    from storymem.training import stages

    asked: list[Path | None] = []
    monkeypatch.setattr(stages, "encode_footage", lambda stage: asked.append(stage.data.folder) or 0)
    config = tmp_path / "config.yaml"
    config.write_text("stage: memory\noutput: out\nsteps: 1\nmodel: m\ndata: {num_frames: 5}\n")
    monkeypatch.setattr("sys.argv", ["storymem", "data", "prepare", "-o", name, "--encode", str(config)])
    with pytest.raises(SystemExit) as end:
        main()
    assert (end.value.code or 0, asked) == (0, [Path(name)])


def varying(path: Path) -> Path:
    """Three shots of one colour each, 40 frames at 16 per second, 24 at 4 and 40 at 16 again."""
    lengths = [Fraction(1, 16)] * 40 + [Fraction(1, 4)] * 24 + [Fraction(1, 16)] * 40
    colours = [(200, 40, 40)] * 40 + [(40, 200, 40)] * 24 + [(40, 40, 200)] * 40
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16, width=64, height=48, pix_fmt="yuv420p", options={"bf": "0"})
        stream.codec_context.time_base = Fraction(1, 16)
        for time, colour in zip(itertools.accumulate(lengths, initial=Fraction(0)), colours, strict=False):
            picture = (np.array(colour) + rng.integers(-3, 4, (48, 64, 3))).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = int(time * 16), Fraction(1, 16)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_no_clip_has_a_cut_where_the_rate_of_frames_varies(tmp_path: Path) -> None:
    video = varying(tmp_path / "phone.mp4")
    assert detect_shots(video) == [(0, 40), (40, 64), (64, 104)]
    report = run([video], tmp_path / "data", clips_per_shot=2)
    assert (report.shots, report.too_short, report.left_out) == (3, 0, 0)
    clips = read_clips(tmp_path / "data")
    assert len(clips) == 6
    slow = [clip for clip in clips if 40 <= clip.first_frame < 64]
    assert [clip.last_frame - clip.first_frame for clip in slow] == [2, 2]  # 5 frames at 8 per second: half a second
    for clip in clips:
        frames = np.stack(list(read_video(tmp_path / "data" / "clips" / f"{clip.id}.mp4"))).astype(int)
        assert np.ptp(frames.mean(axis=(1, 2)), axis=0).max() < 20


def test_clips_that_are_not_met_are_told(videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prepare.read_video
    monkeypatch.setattr(prepare, "read_video", lambda path: itertools.islice(whole(path), 30))
    told: list[str] = []
    report = run(videos[:1], tmp_path, on_trouble=told.append)
    assert (report.left_out, report.clips) == (1, 0)
    assert "a.mp4: 1 of its clips were not met when it was read again" in told[0]
