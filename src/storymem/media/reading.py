"""Reading video."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from storymem.errors import MediaError
from storymem.media.frames import Uint8Array
from storymem.media.writing import Chapter

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["VideoInfo", "probe_video", "read_frames", "read_video"]


_HDR = frozenset({16, 18})  # transfer functions: PQ (SMPTE 2084) and HLG (ARIB STD-B67)
_SRGB, _BT709 = 13, 1  # transfer function and primaries
_OBLONG = 10  # how many times as wide as high a pixel may be, or as high as wide; beyond that it is no shape but damage


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video file says of itself.

    Attributes:
        width: square pixels, of the picture that stands upright, as `read_video` gives it.
        height: pixels, likewise.
        fps: average frames per second, exact.
        num_frames: counted in the file, not guessed from the duration.
        duration: seconds, `num_frames` / `fps`.
        codec: FFmpeg's name, such as ``h264`` or ``ffv1``.
        pix_fmt: FFmpeg's name, such as ``yuv420p``.
        metadata: the tags of the file.
        chapters: counted in frames.
    """

    width: int
    height: int
    fps: Fraction
    num_frames: int
    duration: float
    codec: str
    pix_fmt: str
    metadata: Mapping[str, str]
    chapters: tuple[Chapter, ...]


def probe_video(path: Path) -> VideoInfo:
    """What is in a video file; its frames are counted, but only the first is decoded.

    Raises:
        MediaError: there is no such file, or it is no video that can be read.
    """
    import av

    with _opened(path) as (container, stream):
        fps = _rate(stream)
        # Matroska does not store the number of frames, and what others store may be wrong: count.
        count, first = 0, None
        for packet in container.demux(stream):
            count += bool(packet.size) and not packet.is_discard  # what an edit list cuts off is decoded, not shown
            if first is None:
                with suppress(av.error.FFmpegError):  # damage is for whoever reads it
                    first = next(iter(stream.decode(packet)), None)
        size = (_shown_width(stream, stream.codec_context.width), stream.codec_context.height)
        width, height = size[::-1] if first is not None and _turn(first).swap else size
        return VideoInfo(
            width=width,
            height=height,
            fps=fps,
            num_frames=count,
            duration=float(count / fps),
            codec=stream.codec_context.codec.name,
            pix_fmt=stream.codec_context.pix_fmt or "",
            metadata=dict(container.metadata),
            chapters=tuple(_chapters(container, fps)),
        )


def read_video(path: Path) -> Iterator[Uint8Array]:
    """The frames of a video one by one, uint8 ``[H, W, 3]``; constant memory.

    Turned upright as the file asks for (phones film on their side), as players do, and as wide as it is shown where
    pixels are not square (HDV, DVDs). Colours are converted by the file's own tags; of HDR (HLG and PQ) the white of a
    page becomes white, and what is brighter too. An FFV1 master comes back bit for bit as it was written, or not at
    all: the checksums of its slices are verified (so an FFV1 file without them, of level 1, is refused). Nothing is
    opened until the first frame is asked for.

    Raises:
        MediaError: there is no such file, it is no video, it is damaged, or it ends before it says it does.
    """
    with _opened(path) as (container, stream):
        fps = _rate(stream)
        stream.thread_type = "AUTO"
        end, pixels = Fraction(0), _Pixels()
        for frame in _decoded(container, stream, path):
            picture = pixels.of(frame, _shown_width(stream, frame.width))
            if frame.pts is not None and frame.time_base is not None:
                shown = max(frame.duration * frame.time_base, 1 / fps)  # the last one may be shown for long
                end = max(end, frame.pts * frame.time_base + shown)
            yield _turn(frame).of(picture.astype(np.uint8, copy=False))
        said = _said_duration(container, stream)
        if said is not None and said - end > Fraction(3, 4) / fps:
            raise MediaError(
                f"{path}: the video is incomplete: it ends after {float(end):.3f} of {float(said):.3f} seconds: "
                "write it again."
            )


def read_frames(path: Path, indices: Sequence[int]) -> list[Uint8Array]:
    """Some frames of a video, uint8 ``[H, W, 3]``, in the order of `indices`.

    Reads no further than the last one asked for.

    Raises:
        MediaError: as `read_video`, or an index is beyond the end.
    """
    wanted, found = set(indices), dict[int, Uint8Array]()
    if wanted and min(wanted) < 0:
        raise MediaError(f"{path}: there is no frame {min(wanted)}: frames are counted from 0.")
    if wanted:
        for index, frame in enumerate(read_video(path)):
            if index in wanted:
                found[index] = frame
            if len(found) == len(wanted):
                break
        else:
            raise MediaError(f"{path}: there is no frame {max(wanted)}: the video has {index + 1}.")
    return [found[index] for index in indices]


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file and its first video stream; what goes wrong in it becomes `MediaError`."""
    import av

    try:
        # The whole path: FFmpeg takes what stands before a colon for a protocol. Tags may be in any letters.
        with av.open(str(path.absolute()), metadata_errors="replace") as container:
            if not container.streams.video:
                raise MediaError(f"{path}: there is no video in this file: use a video file.")
            stream = container.streams.video[0]
            if stream.codec_context is None:  # PyAV's way to say that FFmpeg has no decoder for it
                raise MediaError(f"{path}: the video's codec is not known here: write it again, with H.264 say.")
            yield container, stream
    except FileNotFoundError as error:
        raise MediaError(f"{path}: there is no such video: check the path.") from error
    except (av.error.FFmpegError, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{path}: the video is damaged or cannot be read ({reason}): write it again.") from error


class _Pixels:
    """Decoded frames as eight bits of sRGB. One for a whole video: what HDR's colours become is worked out once."""

    def __init__(self) -> None:
        from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

        self._plain, self._hdr = VideoReformatter(), VideoReformatter()
        self._how: Any = {
            "dst_color_range": ColorRange.JPEG,
            "interpolation": Interpolation.BICUBIC
            | Interpolation.FULL_CHR_H_INT
            | Interpolation.ACCURATE_RND
            | Interpolation.BITEXACT,
        }

    def of(self, frame: VideoFrame, width: int) -> Uint8Array:
        """A frame as ``[H, width, 3]``."""
        if frame.color_trc in _HDR:
            frame = self._bare(frame)
            how = {**self._how, "dst_color_trc": _SRGB, "dst_color_primaries": _BT709}
            picture = self._hdr.reformat(frame, width=width, format="rgb24", **how)
        else:  # from FFV1's RGB only the bytes are put in another order
            picture = self._plain.reformat(frame, width=width, format="rgb24", **self._how)
        return picture.to_ndarray().astype(np.uint8, copy=False)

    def _bare(self, frame: VideoFrame) -> VideoFrame:
        """The same signal in 16 bits, without what some frames, or all, say of the display that it was mastered on.

        FFmpeg would take that for the display of the result as well, which changes what is dark, and would spend
        seconds whenever the next frame says something else.
        """
        from av import VideoFrame

        signal = self._plain.reformat(frame, format="rgb48le", **self._how).to_ndarray()
        bare = VideoFrame.from_ndarray(signal, format="rgb48le")
        bare.color_trc, bare.color_primaries = frame.color_trc, frame.color_primaries
        return bare


def _shown_width(stream: VideoStream, width: int) -> int:
    """How many square pixels wide a picture of `width` stored ones is shown; as many where the file says nothing."""
    shape = stream.sample_aspect_ratio or 1
    return max(1, round(width * shape)) if Fraction(1, _OBLONG) <= shape <= _OBLONG else width


@dataclass(frozen=True, slots=True)
class _Turn:
    """How a picture comes to stand upright: rows for columns first, then what was left to the right, up to down."""

    swap: bool = False
    mirror: bool = False
    flip: bool = False

    def of(self, picture: Uint8Array) -> Uint8Array:
        """The picture upright, contiguous."""
        upright = picture.swapaxes(0, 1) if self.swap else picture
        upright = upright[:: -1 if self.flip else 1, :: -1 if self.mirror else 1]
        return np.ascontiguousarray(upright)


def _turn(frame: VideoFrame) -> _Turn:
    """What the display matrix of a frame asks for, to the nearest quarter turn.

    The matrix [a b u, c d v, x y w] takes a pixel (p, q) to (a p + c q, b p + d q).
    """
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")  # its stub knows no keys
    if matrix is None:
        return _Turn()
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(matrix))
    swap = abs(a) + abs(d) < abs(b) + abs(c)
    return _Turn(swap, (c if swap else a) < 0, (b if swap else d) < 0)


def _decoded(container: InputContainer, stream: VideoStream, path: Path) -> Iterator[VideoFrame]:
    checked = stream.codec_context.codec.name == "ffv1"
    for number, packet in enumerate(container.demux(stream)):
        # FFmpeg's decoder only logs a wrong checksum, and shows the frame before in the place of the damaged one.
        if checked and packet.size and not _slices_are_whole(bytes(packet)):
            raise MediaError(f"{path}: frame {number} is damaged (its checksum is wrong): write the video again.")
        yield from stream.decode(packet)


# Every byte with its bits in reverse order.
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _slices_are_whole(frame: bytes) -> bool:
    """Check the CRC of every slice of an FFV1 frame (RFC 9043, section 4.9).

    A slice ends with its size (3 bytes), an error status (1 byte) and a CRC (4 bytes) that makes the CRC of the whole
    slice zero: polynomial 0x04C11DB7, most significant bit first, starting from 0. zlib has the same polynomial with
    the bits the other way round and both ends inverted.
    """
    end = len(frame)
    while end > 0:
        start = end - 8 - int.from_bytes(frame[end - 8 : end - 5], "big")
        if start < 0 or zlib.crc32(frame[start:end].translate(_REVERSED), 0xFFFFFFFF) != 0xFFFFFFFF:
            return False
        end = start
    return True


def _rate(stream: VideoStream) -> Fraction:
    return stream.average_rate or stream.guessed_rate or Fraction(25)


def _said_duration(container: InputContainer, stream: VideoStream) -> Fraction | None:
    """Seconds that the file claims, where the claim is about the video alone."""
    if stream.duration is not None and stream.time_base is not None:
        return stream.duration * stream.time_base
    if len(container.streams) == 1 and container.duration is not None:
        return Fraction(container.duration, 1_000_000)
    return None


def _chapters(container: InputContainer, fps: Fraction) -> Iterator[Chapter]:
    for chapter in container.chapters():
        base = (chapter["time_base"] or Fraction(0)) * fps
        start, end = round(chapter["start"] * base), round(chapter["end"] * base)
        yield Chapter(chapter["metadata"].get("title", ""), start, max(end, start + 1))
