"""From the frames of a shot to the few numbers that metrics need, kept by content so that they are made once."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from storymem.bench.encoders import SAMPLING, FrameJudge, VideoEncoder, sample_middle
from storymem.bench.worth import WORTH, frame_worth
from storymem.errors import MediaError
from storymem.film.storage import hash_file, make_folder, replace_file
from storymem.media import FloatArray, Uint8Array, from_uint8, probe_video, read_video

__all__ = ["ENDS", "FEATURES", "ShotFeatures", "cached_features", "embed_film", "shot_features"]

FEATURES = "shot-features-1"
"""Identity of what is computed here."""

ENDS = 5
_SMALL = (9, 16)  # to see copies
_MIDDLE = (36, 64)  # to see jumps
_PREVIEW = 200  # pixels wide, on contact sheets


@dataclass(frozen=True, eq=False)
class ShotFeatures:
    """What metrics need to know of a shot.

    Attributes:
        embedding: ``[D]``, unit norm, of the sampled frames.
        worth: ``[8]``, of the sampled frames; see `frame_worth`.
        beauty: ``[8]`` by the judge; empty without one.
        small: ``[8, 3, 9, 16]`` in [0, 1], the sampled frames.
        first: ``[K, 3, 36, 64]`` in [0, 1], the first `ENDS` frames.
        last: the same of the last frames.
        preview: uint8 ``[h, w, 3]``, the middle frame, small.
    """

    embedding: FloatArray
    worth: FloatArray
    beauty: FloatArray
    small: FloatArray
    first: FloatArray
    last: FloatArray
    preview: Uint8Array


def shot_features(frames: Sequence[Uint8Array], encoder: VideoEncoder, judge: FrameJudge | None) -> ShotFeatures:
    """The features of a shot.

    Args:
        frames: uint8 ``[H, W, 3]``, all of the shot, in order.
        encoder: of shots.
        judge: of beauty; None: not judged.
    """
    picked = from_uint8(np.stack([frames[i] for i in sample_middle(len(frames))]))
    nothing = np.zeros(0, dtype=np.float32)
    middle = frames[len(frames) // 2]
    width = min(_PREVIEW, middle.shape[1])
    return ShotFeatures(
        embedding=encoder.encode(picked),
        worth=frame_worth(picked),
        beauty=nothing if judge is None else judge.judge(picked),
        small=_shrunk(picked, _SMALL),
        first=_shrunk(from_uint8(np.stack(frames[:ENDS])), _MIDDLE),
        last=_shrunk(from_uint8(np.stack(frames[-ENDS:])), _MIDDLE),
        preview=_preview(middle, width),
    )


def _shrunk(frames: FloatArray, size: tuple[int, int]) -> FloatArray:
    """``[F, 3, h, w]`` in [0, 1] by area means."""
    from storymem.memory.builtin import area_means

    return area_means(frames * np.float32(0.5) + np.float32(0.5), *size)


def _preview(frame: Uint8Array, width: int) -> Uint8Array:
    from PIL import Image

    height = max(1, round(frame.shape[0] * width / frame.shape[1]))
    picture = Image.fromarray(frame).resize((width, height), Image.Resampling.BOX)
    return np.asarray(picture, dtype=np.uint8)


def cached_features(
    path: Path, drop: int, encoder: VideoEncoder, judge: FrameJudge | None, cache: Path | None
) -> ShotFeatures:
    """The features of a shot's file; from the cache, if its content has been seen before.

    Args:
        path: a video.
        drop: frames at its start that do not count, because they repeat the shot before.
        encoder: of shots.
        judge: of beauty; None: not judged.
        cache: a folder; None: no cache.

    Raises:
        MediaError: the video cannot be read, or all of it is dropped.
        StorageError: the cache cannot be written.
    """
    if cache is None:
        return shot_features(_frames(path, drop), encoder, judge)
    parts = (FEATURES, SAMPLING, WORTH, encoder.identity, "" if judge is None else judge.identity)
    key = hashlib.sha256("\n".join((*parts, str(drop), hash_file(path))).encode()).hexdigest()
    file = cache / key[:2] / f"{key}.npz"
    kept = _read(file)
    if kept is not None:
        return kept
    made = shot_features(_frames(path, drop), encoder, judge)
    make_folder(file.parent)
    stream = io.BytesIO()
    np.savez(stream, allow_pickle=False, **{field.name: getattr(made, field.name) for field in fields(made)})
    replace_file(file, stream.getvalue())
    return made


def _read(file: Path) -> ShotFeatures | None:
    """What is in the cache; None if there is nothing, or nothing whole: it is then made again."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return ShotFeatures(**{field.name: arrays[field.name] for field in fields(ShotFeatures)})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _frames(path: Path, drop: int) -> list[Uint8Array]:
    frames = list(read_video(path))[drop:]
    if not frames:
        raise MediaError(f"{path}: has no frames left after the {drop} that repeat the shot before: write it again.")
    return frames


def embed_film(files: Sequence[tuple[Path, int]], encoder: VideoEncoder, cache: Path | None) -> FloatArray:
    """One vector ``[D]`` for a whole film, from frames sampled as those of a shot.

    Args:
        files: video and dropped frames of each shot, in order.
        encoder: of videos.
        cache: a folder; None: no cache.

    Raises:
        MediaError: two videos have pictures of different sizes, which no encoder takes together and which would not be
            what was made once they were resized; or a video cannot be read, or shows fewer frames than it says.
        StorageError: the cache cannot be written.
    """
    key = ""
    if cache is not None:
        hashes = (f"{drop}:{hash_file(path)}" for path, drop in files)
        text = "\n".join(("film", FEATURES, SAMPLING, encoder.identity, *hashes))
        key = hashlib.sha256(text.encode()).hexdigest()
        file = cache / key[:2] / f"{key}.npy"
        try:
            return np.asarray(np.load(file, allow_pickle=False), dtype=np.float32)
        except (OSError, ValueError, EOFError):
            pass  # not there, or not whole: made again
    videos = [(path, probe_video(path)) for path, _ in files]
    for path, video in videos[1:]:
        if (video.width, video.height) != (videos[0][1].width, videos[0][1].height):
            raise MediaError(
                f"{path}: its pictures are {video.width}x{video.height}, those of {videos[0][0].name} "
                f"{videos[0][1].width}x{videos[0][1].height}, so they are no one film to compare with the overview: "
                "write all clips of a film in one size."
            )
    counts = [video.num_frames - drop for (_, video), (_, drop) in zip(videos, files, strict=True)]
    wanted = sample_middle(sum(counts))
    starts = np.concatenate([[0], np.cumsum(counts)])
    frames: dict[int, Uint8Array] = {}
    for (path, drop), start, end in zip(files, starts, starts[1:], strict=False):
        here = [index for index in set(wanted) if start <= index < end]
        number = -1
        for number, frame in enumerate(read_video(path)) if here else ():
            if number - drop + start in here:
                frames[int(number - drop + start)] = frame
        if any(index not in frames for index in here):
            said = int(end - start) + drop
            raise MediaError(f"{path}: of its {said} frames only {number + 1} can be shown: write the video again.")
    vector = encoder.encode(from_uint8(np.stack([frames[index] for index in wanted])))
    if cache is not None:
        stream = io.BytesIO()
        np.save(stream, vector, allow_pickle=False)
        make_folder(file.parent)
        replace_file(file, stream.getvalue())
    return vector
