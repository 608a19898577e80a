from __future__ import annotations

import errno
import os
import resource
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from storymem.errors import MediaError, StorageError
from storymem.media import Chapter, from_uint8, probe_video, read_frames, read_video, write_video

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 40), (30, 60, 90)]


def noise(count: int = 9, height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def moving(count: int, height: int = 48, width: int = 64) -> Iterator[np.ndarray]:
    for index in range(count):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[..., 0] = np.linspace(0, 255, width)
        frame[10:20, index % width :][:, :12] = 255
        yield frame


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def open_files() -> list[Path]:
    return [link.readlink() for link in list(Path("/proc/self/fd").iterdir()) if link.is_symlink()]


def boxes(data: bytes) -> list[str]:
    names, at = [], 0
    while at < len(data):
        names.append(data[at + 4 : at + 8].decode("latin1"))
        at += int.from_bytes(data[at : at + 4], "big")
    return names


@pytest.mark.parametrize("size", [(48, 64), (17, 33)])
def test_master_is_bit_exact_on_noise(tmp_path: Path, size: tuple[int, int]):
    frames = noise(9, *size)
    assert write_video(tmp_path / "master.mkv", frames, 16, codec="ffv1") == 9
    assert np.array_equal(np.stack(list(read_video(tmp_path / "master.mkv"))), frames)
    write_video(tmp_path / "float.mkv", (from_uint8(frame) for frame in frames), 16, codec="ffv1")
    assert (tmp_path / "float.mkv").read_bytes() == (tmp_path / "master.mkv").read_bytes()
    info = probe_video(tmp_path / "master.mkv")
    assert (info.width, info.height, info.num_frames, info.fps) == (size[1], size[0], 9, 16)
    assert (info.codec, info.pix_fmt, info.duration) == ("ffv1", "bgr0", 9 / 16)


def test_master_has_only_key_frames(tmp_path: Path):
    write_video(tmp_path / "m.mkv", moving(20), 16, codec="ffv1")
    with av.open(str(tmp_path / "m.mkv")) as container:
        assert all(packet.is_keyframe for packet in container.demux(video=0) if packet.size)


def test_known_colours_come_back_with_bt709_tags(tmp_path: Path):
    frames = [np.full((48, 64, 3), colour, np.uint8) for colour in COLOURS]
    write_video(tmp_path / "a.mp4", frames, 16)
    for frame, colour in zip(read_video(tmp_path / "a.mp4"), COLOURS, strict=True):
        assert np.abs(frame.astype(int) - colour).max() <= 3
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        tags = (context.color_range, context.color_primaries, context.color_trc, context.colorspace)
        assert tags == (1, 1, 1, 1)  # limited, BT.709 three times, in H.273's numbers
        first = next(container.decode(video=0))
        luma, blue, red = (plane[24, 32] for plane in _planes(first.to_ndarray(format="yuv420p"), 48))
        # BT.709 red by the formula: Y = 16 + 219 * 0.2126, Cb = 128 - 224 * 0.2126 / 1.8556, Cr = 240
        assert np.abs(np.array([luma, blue, red], int) - [63, 102, 240]).max() <= 1


def _planes(yuv: np.ndarray, height: int) -> list[np.ndarray]:
    luma, chroma = yuv[:height], yuv[height:].reshape(2, height // 2, -1)
    return [luma, *(plane.repeat(2, 0).repeat(2, 1) for plane in chroma)]


def test_h264_looks_like_its_source(tmp_path: Path):
    write_video(tmp_path / "a.mp4", moving(20), 16)
    for coded, source in zip(read_video(tmp_path / "a.mp4"), moving(20), strict=True):
        assert np.abs(coded.astype(int) - source).mean() < 6


def test_mp4_is_what_players_and_pages_want(tmp_path: Path):
    write_video(
        tmp_path / "a.mp4",
        moving(21),
        16,
        metadata={"title": "Die Möwe 猫", "comment": '{"seed": 1}', "copyright": "me"},
    )
    assert boxes((tmp_path / "a.mp4").read_bytes())[:2] == ["ftyp", "moov"]
    info = probe_video(tmp_path / "a.mp4")
    assert (info.codec, info.pix_fmt, info.num_frames, info.fps) == ("h264", "yuv420p", 21, 16)
    assert info.metadata["title"] == "Die Möwe 猫"
    assert info.metadata["comment"] == '{"seed": 1}'
    assert info.metadata["copyright"] == "me"
    with av.open(str(tmp_path / "a.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.start_time == 0
        assert stream.duration * stream.time_base == Fraction(21, 16)
        times = [frame.pts * frame.time_base for frame in container.decode(stream)]
        assert times == [Fraction(index, 16) for index in range(21)]


@pytest.mark.parametrize("fps", [16, 24, 25, 30, Fraction(30000, 1001), 1, 7])
@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_rates_and_chapters_are_exact(tmp_path: Path, fps: int | Fraction, codec: str):
    chapters = [Chapter("one", 0, 5), Chapter("zwei 二", 5, 6), Chapter("three", 6, 23)]
    write_video(tmp_path / "a", moving(23), fps, codec=codec, chapters=chapters)
    info = probe_video(tmp_path / "a")
    assert list(info.chapters) == chapters
    assert info.num_frames == 23
    assert info.fps == fps
    if codec == "h264":
        with av.open(str(tmp_path / "a")) as container:
            exact = [Fraction(chapter["start"]) * chapter["time_base"] * fps for chapter in container.chapters()]
            assert exact == [0, 5, 6]


def test_chapters_start_with_key_frames(tmp_path: Path):
    write_video(tmp_path / "a.mp4", moving(30), 16, chapters=[Chapter("a", 0, 11), Chapter("b", 11, 30)])
    with av.open(str(tmp_path / "a.mp4")) as container:
        keys = [f.pts * f.time_base * 16 for f in container.decode(video=0) if f.key_frame]
    assert 0 in keys
    assert 11 in keys


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_two_runs_give_the_same_bytes(tmp_path: Path, codec: str):
    frames = [*noise(6), *moving(30)]
    arguments = {"codec": codec, "metadata": {"title": "x"}, "chapters": [Chapter("a", 0, 36)]}
    write_video(tmp_path / "a", frames, 16, **arguments)
    # In another process, which has its own clock, addresses and random numbers.
    script = (
        "import sys, numpy as np\nfrom pathlib import Path\nfrom storymem.media import Chapter, write_video\n"
        "frames = np.load(sys.argv[1])\n"
        f"write_video(Path(sys.argv[2]), frames, 16, codec={codec!r}, metadata={{'title': 'x'}}, "
        "chapters=[Chapter('a', 0, 36)])"
    )
    np.save(tmp_path / "frames.npy", np.stack(frames))
    subprocess.run([sys.executable, "-c", script, tmp_path / "frames.npy", tmp_path / "b"], check=True)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc fills fresh memory on request")
def test_bytes_do_not_depend_on_what_lies_in_fresh_memory(tmp_path: Path):
    # Flat, moving and cut pictures, so that x264 has something to decide: noise is coded the same whatever it decides.
    script = """
import sys
from pathlib import Path
import numpy as np
from storymem.media import write_video

def frames():
    y, x = np.mgrid[:128, :208]
    for index in range(36):
        waves = np.sin((x + 5 * index) / (5 + index // 9)) + np.cos((y - 3 * index) / (4 + index // 12))
        yield np.stack([127 + 60 * waves, 255 - 100 * abs(waves), 40 * waves + x / 2], -1).clip(0, 255).astype(np.uint8)

write_video(Path(sys.argv[1]), frames(), 16)
"""
    written = []
    for number in (0, 85, 170):
        path = tmp_path / f"{number}.mp4"
        environment = {**os.environ, "MALLOC_PERTURB_": str(number)}
        subprocess.run([sys.executable, "-c", script, str(path)], env=environment, check=True)
        written.append(path.read_bytes())
    assert written[0] == written[1] == written[2]


def test_frames_are_taken_one_at_a_time(tmp_path: Path):
    alive = 0
    most = 0

    class Counted(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def source() -> Iterator[np.ndarray]:
        nonlocal alive, most
        for frame in moving(60):
            alive += 1
            most = max(most, alive)
            yield frame.view(Counted)

    write_video(tmp_path / "a.mp4", source(), 16)
    assert most <= 4


@pytest.mark.parametrize("name", ["Milo: a film.mkv", "http:x.mkv"])
def test_a_colon_in_a_relative_path_is_no_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.chdir(tmp_path)
    frames = noise(3)
    write_video(Path(name), iter(frames), 16, codec="ffv1")
    assert probe_video(Path(name)).num_frames == 3
    assert len(list(read_video(Path(name)))) == 3


def test_read_frames_gives_those_asked_for_in_order(tmp_path: Path):
    frames = noise(9)
    write_video(tmp_path / "m.mkv", frames, 16, codec="ffv1")
    out = read_frames(tmp_path / "m.mkv", [7, 0, 7, 3])
    assert np.array_equal(np.stack(out), frames[[7, 0, 7, 3]])
    assert read_frames(tmp_path / "m.mkv", []) == []
    with pytest.raises(MediaError, match=r"no frame 9: the video has 9"):
        read_frames(tmp_path / "m.mkv", [0, 9])
    with pytest.raises(MediaError, match="counted from 0"):
        read_frames(tmp_path / "m.mkv", [-1])


def test_bad_input_is_an_error_and_leaves_nothing(tmp_path: Path):
    path = tmp_path / "a.mp4"
    with pytest.raises(MediaError, match="at least one frame"):
        write_video(path, [], 16)
    with pytest.raises(MediaError, match="even sides"):
        write_video(path, noise(1, 17, 33), 16)
    with pytest.raises(MediaError, match="frame 1 is 32x48 and the first is 64x48"):
        write_video(path, [noise(1)[0], noise(1, 48, 32)[0]], 16)
    with pytest.raises(MediaError, match="beyond the last of the 9 frames"):
        write_video(path, noise(9), 16, chapters=[Chapter("a", 0, 10)])
    with pytest.raises(MediaError, match="fps is 0"):
        write_video(path, noise(1), 0)
    with pytest.raises(MediaError, match="crf is 99"):
        write_video(path, noise(1), 16, crf=99)
    with pytest.raises(MediaError, match="at least one frame"):
        Chapter("a", 3, 3)
    with pytest.raises(MediaError, match="no place for the tag 'x'; it has title"):
        write_video(path, noise(1), 16, metadata={"x": "y"})
    with pytest.raises(MediaError, match="NaN"):
        write_video(path, [np.full((3, 16, 16), np.nan, np.float32)], 16)
    assert names(tmp_path) == []


def test_error_of_the_source_passes_through_and_keeps_the_old_file(tmp_path: Path):
    path = tmp_path / "a.mp4"
    write_video(path, moving(3), 16)
    before = path.read_bytes()

    def broken() -> Iterator[np.ndarray]:
        yield from moving(30)
        raise OSError(errno.EIO, "the source broke")

    with pytest.raises(OSError, match="the source broke") as caught:
        write_video(path, broken(), 16)
    assert not isinstance(caught.value, StorageError)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["a.mp4"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("codec", ["h264", "ffv1"])
def test_full_disk_keeps_the_old_file(tmp_path: Path, codec: str):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    (tmp_path / ".making-a.mp4").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"a\.mp4: could not be written \(No space left on device\)"):
        write_video(path, noise(9), 16, codec=codec)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
@pytest.mark.parametrize("limit", [1, 1000, 20_000])
def test_disk_that_fills_half_way_keeps_the_old_file(tmp_path: Path, codec: str, limit: int):
    """A real refusal by the kernel, at several points of the file, through RLIMIT_FSIZE."""
    path = tmp_path / "a.mp4"
    path.write_bytes(b"")
    old_limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    old_handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old_limits[1]))
    try:
        with pytest.raises(StorageError, match="File too large"):
            write_video(path, noise(9), 16, codec=codec)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old_limits)
        signal.signal(signal.SIGXFSZ, old_handler)
    assert path.read_bytes() == b""
    assert names(tmp_path) == ["a.mp4"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_refusal_at_the_end_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int):
    path = tmp_path / "a.mkv"
    path.write_bytes(b"old")

    def refuse(*arguments: object, **named: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StorageError, match=os.strerror(number)):
        write_video(path, noise(3), 16, codec="ffv1")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a.mkv"]


def test_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(str(Path(f"/proc/self/fd/{fd}").readlink())), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(f"{a} -> {b}"), replace(a, b)))
    path, partial = tmp_path / "a.mkv", tmp_path / ".making-a.mkv"
    write_video(path, noise(3), 16, codec="ffv1")
    assert done == [str(partial), f"{partial} -> {path}", str(tmp_path)]


def test_what_is_no_video_is_an_error_with_place_and_remedy(tmp_path: Path):
    (tmp_path / "text.mp4").write_text("a tale of two cities\n")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "subtitles.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nHello\n")
    for read in (probe_video, lambda path: next(read_video(path))):
        for name, words in {
            "text.mp4": "cannot be read",
            "empty.mp4": "cannot be read",
            "folder.mp4": "cannot be read",
            "subtitles.srt": "no video in this file",
            "none.mp4": "no such video",
        }.items():
            with pytest.raises(MediaError, match=words) as caught:
                read(tmp_path / name)
            assert str(tmp_path / name) in str(caught.value)
            assert "\n" not in str(caught.value)


@pytest.mark.parametrize("codec", ["h264", "ffv1"])
@pytest.mark.parametrize("part", [0.3, 0.7, 0.97])
def test_truncated_video_is_an_error(tmp_path: Path, codec: str, part: float):
    write_video(tmp_path / "a", noise(12), 16, codec=codec)
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data[: int(len(data) * part)])
    with pytest.raises(MediaError, match=r"damaged|incomplete"):
        list(read_video(tmp_path / "a"))


def test_one_flipped_bit_in_a_master_is_an_error(tmp_path: Path):
    write_video(tmp_path / "a", noise(12), 16, codec="ffv1")
    data = bytearray((tmp_path / "a").read_bytes())
    for at in range(len(data) // 8, len(data) * 15 // 16, len(data) // 8):
        damaged = bytearray(data)
        damaged[at] ^= 4
        (tmp_path / "a").write_bytes(damaged)
        with pytest.raises(MediaError, match="damaged"):
            list(read_video(tmp_path / "a"))


def test_stopping_early_closes_the_file(tmp_path: Path):
    write_video(tmp_path / "a.mkv", noise(9), 16, codec="ffv1")
    frames = read_video(tmp_path / "a.mkv")
    next(frames)
    assert tmp_path / "a.mkv" in open_files()
    frames.close()
    assert tmp_path / "a.mkv" not in open_files()


def test_videos_of_unknown_forms_and_letters(tmp_path: Path):
    write_video(tmp_path / "a.mp4", moving(5), 16, metadata={"title": "ABCDEFGH"})
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "tag.mp4").write_bytes(data.replace(b"ABCDEFGH", b"AB\xff\xfeEFGH"))
    assert probe_video(tmp_path / "tag.mp4").metadata["title"] == "AB\ufffd\ufffdEFGH"
    (tmp_path / "form.mp4").write_bytes(data.replace(b"avc1", b"zzzz"))
    for read in (probe_video, lambda path: list(read_video(path))):
        with pytest.raises(MediaError, match="codec is not known here"):
            read(tmp_path / "form.mp4")


def lying(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """A video whose upper left corner is red, with a display matrix [a b, c d] in its track's header."""
    frames = np.full((3, 32, 64, 3), 255, np.uint8)
    frames[:, :16, :16] = (255, 0, 0)
    write_video(path, iter(frames), 16)
    data = bytearray(path.read_bytes())
    a, b, c, d = (part * 65536 for part in matrix)
    struct.pack_into(">5i", data, data.index(b"tkhd") + 44, a, b, 0, c, d)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("matrix", "corner"),
    [
        ((1, 0, 0, 1), (0, 0)),
        ((0, 1, -1, 0), (0, -1)),  # a quarter turn clockwise, as phones film
        ((-1, 0, 0, -1), (-1, -1)),
        ((0, -1, 1, 0), (-1, 0)),
        ((-1, 0, 0, 1), (0, -1)),  # mirrored
        ((0, 1, 1, 0), (0, 0)),
    ],
)
def test_a_video_that_was_filmed_on_its_side_stands_upright(
    tmp_path: Path, matrix: tuple[int, int, int, int], corner: tuple[int, int]
):
    path = lying(tmp_path / "a.mp4", matrix)
    info = probe_video(path)
    size = (64, 32) if matrix[0] else (32, 64)
    assert (info.width, info.height, info.num_frames) == (*size, 3)
    for frame in read_video(path):
        assert frame.shape == (*size[::-1], 3)
        corners = {(y, x): frame[y, x].astype(int) for y in (0, -1) for x in (0, -1)}
        red = [place for place, colour in corners.items() if colour[1] < 128]
        assert red == [corner]


def test_a_last_frame_that_is_shown_for_long_is_no_damage(tmp_path: Path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=16, width=64, height=48, pix_fmt="yuv420p", options={"bf": "0"})
        frames = (av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in moving(9))
        packets = [packet for frame in (*frames, None) for packet in stream.encode(frame)]
        packets[-1].duration = round(2 / packets[-1].time_base)
        container.mux(packets)
    with av.open(str(path)) as container:
        assert container.streams.video[0].duration * container.streams.video[0].time_base == Fraction(5, 2)
    assert len(list(read_video(path))) == 9
