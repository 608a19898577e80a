"""Videos whose pixels are not what is to be seen: HDR, and pixels that are not square."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from storymem.media import probe_video, read_video, write_video


def ten_bit(
    path: Path, signals: Sequence[Sequence[float]], *, transfer: int, primaries: int = 9, options: str = ""
) -> Path:
    """Frames of one colour each, R'G'B' as shares of the range, in H.264 of ten bits with BT.2020's matrix."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=24, width=64, height=48, pix_fmt="yuv420p10le", options={"x264-params": f"{options}:qp=1"}
        )
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace = transfer, primaries, 9
        context.color_range = 1
        for number, (red, green, blue) in enumerate(signals):
            luma = 0.2627 * red + 0.678 * green + 0.0593 * blue
            chroma = ((blue - luma) / 1.8814, (red - luma) / 1.4746)
            codes = [round(64 + 876 * luma), *(round(512 + 896 * part) for part in chroma)]
            frame = av.VideoFrame(64, 48, "yuv420p10le")
            for plane, code in zip(frame.planes, codes, strict=True):
                plane.update(np.full((plane.height, plane.line_size // 2), code, np.uint16).tobytes())
            frame.color_trc, frame.color_primaries = transfer, primaries
            frame.colorspace, frame.color_range = 9, 1
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def colours(path: Path) -> list[list[int]]:
    return [frame.mean(axis=(0, 1)).round().astype(int).tolist() for frame in read_video(path)]


def pq(light: Sequence[float]) -> list[float]:
    """The signal of light, where 1 is the white of a page."""
    shares = (np.array(light) * 203 / 10000) ** (1305 / 8192)
    signal = ((107 / 128 + 2413 / 128 * shares) / (1 + 2392 / 128 * shares)) ** (2523 / 32)
    return [float(part) for part in signal]


def hlg(light: Sequence[float]) -> list[float]:
    """The same, for a display of 1000 cd/m2, whose gamma of 1.2 is undone."""
    shown = np.array(light) * 203 / 1000
    scene = shown * max(float(shown @ [0.2627, 0.678, 0.0593]), 1e-9) ** (1 / 1.2 - 1)
    above = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return [float(part) for part in np.where(scene <= 1 / 12, np.sqrt(3 * scene), above)]


# BT.709's red, which in BT.2020 is a mixture (ITU-R BT.2087), and greys that sRGB says with 64, 128 and 255 of 255.
RED = (0.627404, 0.069097, 0.016391)
GREYS = {64: 0.05126946, 128: 0.21586050, 255: 1.0}
MASTERED = "mastering-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(40000000,1):cll=1000,400"


@pytest.mark.parametrize(("signal", "transfer", "options"), [(pq, 16, ""), (hlg, 18, ""), (pq, 16, MASTERED)])
def test_hdr_is_as_bright_and_as_colourful_as_it_is_meant(
    tmp_path: Path, signal: Callable[[Sequence[float]], list[float]], transfer: int, options: str
):
    meant = [(grey,) * 3 for grey in GREYS.values()]
    path = ten_bit(tmp_path / "a.mp4", [signal(light) for light in (*meant, RED)], transfer=transfer, options=options)
    with av.open(str(path)) as container:
        assert {frame.color_trc for frame in container.decode(video=0)} == {transfer}
    *greys, (red, green, blue) = colours(path)
    for found, wanted in zip(greys, GREYS, strict=True):
        assert max(found) - min(found) <= 3
        assert abs(found[1] - wanted) <= 12  # as it is stored, PQ says 111, 130 and 148
    assert red >= 235
    assert max(green, blue) <= 60


@pytest.mark.parametrize("transfer", [1, 14, 2])
def test_ten_bits_that_are_no_hdr_are_read_as_they_were(tmp_path: Path, transfer: int):
    path = ten_bit(tmp_path / "a.mp4", [(0.5, 0.5, 0.5)], transfer=transfer)
    assert colours(path) == [[128, 128, 128]]


def oblong(path: Path, shape: Fraction | None, matrix: tuple[int, int, int, int] = (1, 0, 0, 1)) -> Path:
    """A disc on black, 72 x 48 pixels of that shape, with a display matrix [a b, c d]."""
    y, x = np.mgrid[:48, :72]
    wide = float(shape or 1)
    disc = ((x - 35.5) * wide) ** 2 + (y - 23.5) ** 2 < 15**2
    picture = np.where(disc[:, :, None], 255, 0).astype(np.uint8).repeat(3, axis=2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24, width=72, height=48, pix_fmt="yuv420p")
        if shape is not None:
            stream.codec_context.sample_aspect_ratio = shape
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    a, b, c, d = (part * 65536 for part in matrix)
    struct.pack_into(">5i", data, data.index(b"tkhd") + 44, a, b, 0, c, d)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("shape", "width"), [(Fraction(4, 3), 96), (Fraction(8, 9), 64)])  # HDV, NTSC
def test_pixels_that_are_not_square_are_shown_as_wide_as_they_are(
    tmp_path: Path, shape: Fraction, width: int, turned: bool
):
    path = oblong(tmp_path / "a.mp4", shape, (0, 1, -1, 0) if turned else (1, 0, 0, 1))
    size = (48, width) if turned else (width, 48)
    info = probe_video(path)
    assert (info.width, info.height) == size
    frames = list(read_video(path))
    assert len(frames) == 3
    for frame in frames:
        assert frame.shape == (*size[::-1], 3)
        bright = frame[:, :, 1] > 127
        across, down = bright.any(axis=0).sum(), bright.any(axis=1).sum()
        assert abs(int(across) - int(down)) <= 2  # a disc is round
        assert abs(int(across) - 30) <= 2


@pytest.mark.parametrize("shape", [None, Fraction(1), Fraction(1000), Fraction(1, 1000)])
def test_square_pixels_stay_what_they_are(tmp_path: Path, shape: Fraction | None):
    """And so does what is no shape of a pixel."""
    path = oblong(tmp_path / "a.mp4", shape)
    info = probe_video(path)
    assert (info.width, info.height) == (72, 48)
    with av.open(str(path)) as container:
        plain = [
            frame.reformat(
                format="rgb24", dst_color_range="JPEG", interpolation=0x4 | 0x2000 | 0x40000 | 0x80000
            ).to_ndarray()
            for frame in container.decode(video=0)
        ]
    assert all(np.array_equal(one, other) for one, other in zip(read_video(path), plain, strict=True))


def test_our_own_videos_say_nothing_of_their_pixels(tmp_path: Path):
    frames = np.zeros((3, 48, 64, 3), np.uint8)
    for name, codec in (("a.mp4", "h264"), ("a.mkv", "ffv1")):
        write_video(tmp_path / name, iter(frames), 16, codec=codec)  # type: ignore[arg-type]
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video[0].sample_aspect_ratio in (None, 0, 1)
