"""Writing video: H.264 in MP4 for people, FFV1 in Matroska for masters."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from storymem.errors import MediaError
from storymem.media.files import replacing, storage_errors
from storymem.media.frames import FloatArray, Uint8Array, as_picture

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

__all__ = ["Chapter", "Codec", "write_video"]

Codec = Literal["h264", "ffv1"]

# Fixed, not the number of cores: the encoders' output depends on it, and a film must not depend on the machine.
_THREADS = 4
_GOP_SECONDS = 2
# Where x264 uses AVX-512, its macroblock tree depends on what lay in memory before, and the same frames give other
# bytes on some runs (seen with MALLOC_PERTURB_; gone with mbtree=0, and with AVX2). Held to SSE4.2, which every x86-64
# processor since 2008 has, it gives the same bytes on every run and on all of them, and takes a few per cent longer.
_X264_ON_X86 = "asm=MMX2,SSE,SSE2,SSE2Fast,SSE3,SSSE3,SSE4.1,SSE4.2"
# The tags that MP4 has a place for which players read; FFmpeg would drop any other without a word.
_MP4_TAGS = ("title", "artist", "album", "date", "genre", "comment", "copyright", "description", "synopsis")


@dataclass(frozen=True, slots=True)
class Chapter:
    """A named stretch of a video.

    Attributes:
        title: what players show.
        start: its first frame, counted from 0.
        end: the frame after its last one.
    """

    title: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise MediaError(
                f"The chapter {self.title!r} goes from frame {self.start} to {self.end}; "
                "it must start at 0 or later and have at least one frame."
            )


def write_video(
    path: Path,
    frames: Iterable[FloatArray | Uint8Array],
    fps: int | Fraction,
    *,
    codec: Codec = "h264",
    crf: int = 17,
    metadata: Mapping[str, str] | None = None,
    chapters: Sequence[Chapter] = (),
) -> int:
    """Write frames to a video file, one at a time, whole or not at all.

    ``h264``: MP4 with the index at the front (it plays while it downloads), yuv420p, BT.709 in limited range, both
    converted and tagged so; closed groups of at most two seconds; every chapter starts with a key frame. ``ffv1``:
    Matroska, eight-bit RGB without loss, every frame on its own, with checksums. The same frames and arguments give the
    same bytes on every run with the same versions of the libraries: no date, no random identifier, a fixed number of
    encoder threads, and on x86 a fixed set of instructions.

    Args:
        path: the file; its folder must exist. The container follows from `codec`, not from the suffix.
        frames: each float ``[3, H, W]`` in [-1, 1] or uint8 ``[H, W, 3]``, all of one size.
        fps: frames per second.
        codec: ``h264`` or ``ffv1``.
        crf: quality of h264, 0 to 51, less is better. 17 is hard to tell from the source.
        metadata: tags of the file; in MP4 only those that players know, such as ``title`` and ``comment``.
        chapters: in order; exact to the frame.

    Returns:
        The number of frames written.

    Raises:
        MediaError: no frames, frames of different sizes, an odd size for h264, a tag that MP4 has no place for, or
            chapters beyond the end.
        StorageError: the operating system refused; what was at `path` before is still there.
    """
    rate = Fraction(fps)
    if rate <= 0:
        raise MediaError(f"{path}: fps is {fps}; it must be above 0.")
    if not 0 <= crf <= 51:
        raise MediaError(f"{path}: crf is {crf}; it must be between 0 (best) and 51.")
    unknown = sorted(set(metadata or {}) - set(_MP4_TAGS)) if codec == "h264" else []
    if unknown:
        raise MediaError(f"{path}: MP4 has no place for the tag {unknown[0]!r}; it has {', '.join(_MP4_TAGS)}.")
    pictures = (as_picture(frame) for frame in frames)
    first = next(pictures, None)
    if first is None:
        raise MediaError(f"{path}: a video needs at least one frame.")
    height, width, _ = first.shape
    if codec == "h264" and (width % 2 or height % 2):
        raise MediaError(f"{path}: H.264 needs even sides and the frames are {width}x{height}: resize them.")
    key_frames = {chapter.start for chapter in chapters}
    with replacing(path) as temporary:
        with storage_errors(path):
            container, stream = _open(
                temporary, codec, (width, height), rate, crf=crf, metadata=metadata or {}, chapters=chapters
            )
        try:
            count = 0
            # Outside storage_errors: an error in the source of the frames is not an error of this file.
            for picture in chain([first], pictures):
                if picture.shape != first.shape:
                    raise MediaError(
                        f"{path}: frame {count} is {picture.shape[1]}x{picture.shape[0]} and the first is "
                        f"{width}x{height}: all frames of a video must have one size."
                    )
                frame = _convert(picture, codec)
                frame.pts, frame.time_base = count, 1 / rate
                if count in key_frames:
                    frame.pict_type = 1  # I; forced-idr makes it a place to seek to
                with storage_errors(path):
                    container.mux(stream.encode(frame))
                count += 1
            if chapters and max(chapter.end for chapter in chapters) > count:
                raise MediaError(f"{path}: the chapters go beyond the last of the {count} frames.")
            with storage_errors(path):
                container.mux(stream.encode(None))
                container.close()
        except BaseException:
            # Free the file; closing tries to finish it, which may fail again in the same way. The first error counts.
            with suppress(OSError, ValueError):
                container.close()
            raise
    return count


def _open(
    path: Path,
    codec: Codec,
    size: tuple[int, int],
    rate: Fraction,
    *,
    crf: int,
    metadata: Mapping[str, str],
    chapters: Sequence[Chapter],
) -> tuple[OutputContainer, VideoStream]:
    """An open container with its one stream, everything set but nothing written."""
    import av
    from av.codec.context import Flags

    # bitexact: no date, no library version, no random identifier in the file.
    container_options = {"fflags": "+bitexact"}
    if codec == "h264":
        x264 = [f"open-gop=0:keyint={max(1, round(rate * _GOP_SECONDS))}"]
        if platform.machine().lower() in ("x86_64", "amd64"):
            x264.append(_X264_ON_X86)
        container_options |= {
            "movflags": "+faststart",
            # Chapters are counted in these ticks (thousandths of a second by default, which misses frames).
            "movie_timescale": str(rate.numerator * max(1, 1000 // rate.numerator)),
        }
        stream_options = {
            "preset": "medium",
            "crf": str(crf),
            "forced-idr": "1",
            "x264-params": ":".join(x264),
        }
    else:
        stream_options = {"level": "3", "slicecrc": "1", "slices": "4", "g": "1"}
    container = av.open(
        str(path.absolute()),  # FFmpeg takes what stands before a colon for a protocol
        "w",
        format="mp4" if codec == "h264" else "matroska",
        container_options=container_options,
    )
    container.metadata.update(metadata)
    container.set_chapters(
        [
            {
                "id": number,
                "start": chapter.start,
                "end": chapter.end,
                "time_base": 1 / rate,
                "metadata": {"title": chapter.title},
            }
            for number, chapter in enumerate(chapters)
        ]
    )
    stream: Any = container.add_stream("libx264" if codec == "h264" else "ffv1", rate=rate, options=stream_options)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p" if codec == "h264" else "bgr0"
    context = stream.codec_context
    context.time_base = 1 / rate
    context.thread_count = _THREADS
    context.flags |= Flags.bitexact
    if codec == "h264":
        # BT.709 is 1 in all three tables of ITU-T H.273, and so is the limited range in FFmpeg's.
        context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1
    return container, stream


def _convert(picture: Uint8Array, codec: Codec) -> VideoFrame:
    """One picture in the encoder's pixel format."""
    from av.video.frame import VideoFrame
    from av.video.reformatter import ColorRange, Colorspace, Interpolation

    frame = VideoFrame.from_ndarray(picture, format="rgb24")
    if codec == "ffv1":
        return frame.reformat(format="bgr0")  # a reordering of bytes
    return frame.reformat(
        format="yuv420p",
        dst_colorspace=Colorspace.ITU709,
        src_color_range=ColorRange.JPEG,
        dst_color_range=ColorRange.MPEG,
        # Bicubic chroma from all pixels, rounded properly, the same on every processor.
        interpolation=Interpolation.BICUBIC
        | Interpolation.FULL_CHR_H_INT
        | Interpolation.FULL_CHR_H_INP
        | Interpolation.ACCURATE_RND
        | Interpolation.BITEXACT,
    )
