"""From real videos to training clips: shots, quality, embeddings, groups of related clips."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from storymem.errors import MediaError, MissingExtraError, SettingsError
from storymem.film.storage import hash_file, make_folder, replace_file
from storymem.media import from_uint8, probe_video, read_video, resize_frame, to_uint8, write_png, write_video
from storymem.training.footage import FootageClip, FootageSettings, read_clips, write_clips

if TYPE_CHECKING:
    from storymem.memory.encoders import AestheticScorer, FrameEncoder

__all__ = ["PrepareReport", "detect_shots", "find_videos", "group_related", "prepare_footage", "windows_of"]

_LOOKED_AT = 5  # frames of a clip that are scored and embedded
_SUFFIXES = {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".mpeg"}
_SHORTEST = 4  # frames of a shot that is told from its neighbours
_MARGIN = 2  # frames left out at both ends of a shot: a cut is not always where it was found


@dataclass
class PrepareReport:
    """What came of the footage.

    Attributes:
        shots: found.
        too_short: shots shorter than a clip.
        too_bad: clips dropped for their quality.
        clips: kept, of all videos in the folder.
        groups: with two clips or more.
        alone: clips that nothing is related to; they have no memory.
        captioned: clips that have a caption.
    """

    shots: int = 0
    too_short: int = 0
    too_bad: int = 0
    clips: int = 0
    groups: int = 0
    alone: int = 0
    captioned: int = 0


def find_videos(paths: Sequence[Path]) -> list[Path]:
    """The videos among files and folders, folders looked through by suffix, in order.

    Raises:
        MediaError: a path is not there, or there is no video in any of them.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file())
        elif path.is_file():
            found.append(path)
        else:
            raise MediaError(f"{path}: there is no such video or folder: check the path.")
    if not found:
        raise MediaError(f"{paths[0]}: no videos there; looked for {', '.join(sorted(_SUFFIXES))}.")
    return list(dict.fromkeys(found))


def detect_shots(path: Path) -> list[tuple[int, int]]:
    """Shots of a video as (first frame, frame after the last), by PySceneDetect's adaptive detector.

    Raises:
        MediaError: the video cannot be read.
        MissingExtraError: PySceneDetect is not installed.
    """
    try:
        from scenedetect import AdaptiveDetector, SceneManager, open_video
        from scenedetect.video_stream import VideoOpenFailure
    except ImportError as error:
        raise MissingExtraError("scenedetect", "train", "find the shots of a video") from error
    probe_video(path)  # our own words for a file that is missing or damaged
    try:
        # Not suppressed, PyAV would hand everything that FFmpeg says to the terminal, for the rest of the process.
        video = open_video(str(path), backend="pyav", suppress_output=True)
        manager = SceneManager()
        # Short shots count: one that is overlooked would be a cut inside a clip.
        manager.add_detector(AdaptiveDetector(min_scene_len=_SHORTEST))
        manager.detect_scenes(video)
    except (VideoOpenFailure, OSError) as error:
        raise MediaError(f"{path}: the video cannot be read ({error}): write it again.") from error
    return [(first.frame_num, end.frame_num) for first, end in manager.get_scene_list(start_in_scene=True)]


def windows_of(first: int, end: int, fps: float, settings: FootageSettings, most: int) -> list[tuple[int, ...]]:
    """Frames of the clips that a shot gives: at most `most`, evenly spread, not overlapping.

    Args:
        first: frame of the video.
        end: frame after the shot's last.
        fps: of the video.
        settings: length and rate of a clip.
        most: clips per shot.
    """
    first, end = first + _MARGIN, end - _MARGIN
    offsets = [round(i * fps / settings.fps) for i in range(settings.num_frames)]
    span = offsets[-1] + 1
    count = min(most, (end - first) // span)
    if count < 1:
        return []
    gap = (end - first - count * span) / count
    starts = [first + math.floor(gap / 2 + i * (span + gap)) for i in range(count)]
    return [tuple(start + offset for offset in offsets) for start in starts]


def group_related(
    embeddings: npt.NDArray[np.floating], *, similarity: float, largest: int, neighbours: int = 32
) -> list[int]:
    """The group of each clip: clips are joined from the most alike down, while groups stay small enough.

    Args:
        embeddings: ``[N, D]``, unit norm.
        similarity: clips less alike than this are not joined.
        largest: clips in a group at most.
        neighbours: nearest clips looked at for each.

    Returns:
        N numbers, from 0 in the order of each group's first clip.
    """
    count = len(embeddings)
    exact = embeddings.astype(np.float32)
    edges: list[tuple[float, int, int]] = []
    for start in range(0, count, 1024):
        block = exact[start : start + 1024] @ exact.T
        for row, values in enumerate(block, start=start):
            values[row] = -np.inf
            nearest = np.argsort(-values, kind="stable")[: min(neighbours, count - 1)]
            edges += [(float(values[n]), min(row, n), max(row, n)) for n in nearest.tolist() if values[n] >= similarity]
    parent, size = list(range(count)), [1] * count

    def root(clip: int) -> int:
        while parent[clip] != clip:
            parent[clip] = parent[parent[clip]]
            clip = parent[clip]
        return clip

    for _, a, b in sorted(set(edges), key=lambda edge: (-edge[0], edge[1], edge[2])):
        one, other = root(a), root(b)
        if one != other and size[one] + size[other] <= largest:
            parent[max(one, other)] = min(one, other)
            size[min(one, other)] += size[max(one, other)]
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(clip), len(numbers)) for clip in range(count)]


def prepare_footage(
    videos: Sequence[Path],
    folder: Path,
    settings: FootageSettings,
    *,
    encoder: FrameEncoder,
    scorer: AestheticScorer | None,
    min_quality: float | None = None,
    similarity: float = 0.7,
    largest_group: int = 16,
    clips_per_shot: int = 1,
    on_video: Callable[[Path, int], None] | None = None,
) -> PrepareReport:
    """Cut videos into clips and group them. Done again with more videos, it adds theirs; captions stay.

    Args:
        videos: files.
        folder: for the result.
        settings: size, length and rate of clips; the same each time for one folder.
        encoder: of frames; says which clips are related.
        scorer: of frames; None keeps every clip.
        min_quality: mean score below which a clip is dropped; None is the scorer's own threshold.
        similarity: clips less alike than this are not joined to a group.
        largest_group: clips in a group at most; the method had about 16.
        clips_per_shot: clips cut from one shot at most.
        on_video: called with each video and the number of its clips.

    Raises:
        SettingsError: the folder was prepared with other settings.
        MediaError: a video cannot be read.
        MissingExtraError: PySceneDetect is not installed.
    """
    _check_settings(folder, settings)
    report = PrepareReport()
    known = {clip.id: clip for clip in read_clips(folder)} if (folder / "clips.jsonl").is_file() else {}
    threshold = min_quality if min_quality is not None or scorer is None else scorer.default_threshold
    for path in videos:
        windows = []
        shots = detect_shots(path)
        report.shots += len(shots)
        fps = float(probe_video(path).fps)
        for first, end in shots:
            cut = windows_of(first, end, fps, settings, clips_per_shot)
            report.too_short += not cut
            windows += cut
        name = f"{re.sub(r'[^A-Za-z0-9]+', '-', path.stem)[:40].strip('-')}-{hash_file(path)[:8]}"
        kept = 0
        for window, frames in _cut(path, windows, settings):
            clip_id = f"{name}-{window[0]:07d}"
            quality = _quality(frames, scorer)
            if quality is not None and threshold is not None and quality < threshold:
                report.too_bad += 1
                known.pop(clip_id, None)
                continue
            _write_clip(folder, clip_id, frames, settings.fps)
            _write_embedding(folder, clip_id, encoder, frames)
            captions = known[clip_id].captions if clip_id in known else ()
            known[clip_id] = FootageClip(clip_id, 0, path.name, window[0], window[-1], quality, captions)
            kept += 1
        if on_video is not None:
            on_video(path, kept)
    clips = sorted(known.values(), key=lambda clip: clip.id)
    if clips:
        embeddings = np.stack([_read_embedding(folder, clip.id, encoder) for clip in clips])
        groups = group_related(embeddings, similarity=similarity, largest=largest_group)
        clips = [replace(clip, group=group) for clip, group in zip(clips, groups, strict=True)]
    write_clips(folder, clips)
    sizes = [sum(clip.group == group for clip in clips) for group in {clip.group for clip in clips}]
    report.clips = len(clips)
    report.groups = sum(size > 1 for size in sizes)
    report.alone = sum(size == 1 for size in sizes)
    report.captioned = sum(bool(clip.captions) for clip in clips)
    return report


def _check_settings(folder: Path, settings: FootageSettings) -> None:
    """Start a folder, or see that it was started with the same settings."""
    make_folder(folder)
    path = folder / "prepare.json"
    text = json.dumps(asdict(settings), indent=2)
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) != json.loads(text):
        raise SettingsError(
            f"{folder}: was prepared with other settings (see prepare.json): use those, or another folder."
        )
    if not path.is_file():
        replace_file(path, text.encode())


def _cut(
    path: Path, windows: Sequence[tuple[int, ...]], settings: FootageSettings
) -> Iterator[tuple[tuple[int, ...], npt.NDArray[np.float32]]]:
    """The frames ``[F, 3, H, W]`` of each window, in one pass through the video; windows are in order."""
    waiting = list(windows)
    frames: dict[int, npt.NDArray[np.float32]] = {}
    if not waiting:
        return
    for index, picture in enumerate(read_video(path)):
        if index in waiting[0]:
            frames[index] = resize_frame(from_uint8(picture), settings.width, settings.height)
        if index == waiting[0][-1]:
            window = waiting.pop(0)
            yield window, np.stack([frames[i] for i in window])
            frames = {}
            if not waiting:
                return


def _some(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    positions = np.linspace(0, len(frames) - 1, min(_LOOKED_AT, len(frames))).round().astype(int)
    return np.take(frames, positions, axis=0)


def _quality(frames: npt.NDArray[np.float32], scorer: AestheticScorer | None) -> float | None:
    return None if scorer is None else float(np.mean(scorer.score(_some(frames))))


def _write_clip(folder: Path, clip_id: str, frames: npt.NDArray[np.float32], fps: int) -> None:
    for name in ("clips", "thumbnails"):
        make_folder(folder / name)
    write_video(folder / "clips" / f"{clip_id}.mp4", iter(frames), fps, crf=10)
    three = [frames[0], frames[len(frames) // 2], frames[-1]]
    write_png(folder / "thumbnails" / f"{clip_id}.png", to_uint8(np.concatenate(three, axis=2)))


def _embedding_path(folder: Path, clip_id: str, encoder: FrameEncoder) -> Path:
    name = hashlib.sha256(encoder.identity.encode()).hexdigest()[:16]
    return folder / f"embeddings-{name}" / f"{clip_id}.npy"


def _write_embedding(folder: Path, clip_id: str, encoder: FrameEncoder, frames: npt.NDArray[np.float32]) -> Any:
    import io

    mean = encoder.encode(_some(frames)).mean(axis=0)
    embedding = (mean / max(float(np.linalg.norm(mean)), 1e-12)).astype(np.float32)
    file = io.BytesIO()
    np.save(file, embedding, allow_pickle=False)
    path = _embedding_path(folder, clip_id, encoder)
    make_folder(path.parent)
    replace_file(path, file.getvalue())
    return embedding


def _read_embedding(folder: Path, clip_id: str, encoder: FrameEncoder) -> Any:
    """A clip's embedding; made again from the clip if it was made with another encoder."""
    path = _embedding_path(folder, clip_id, encoder)
    if path.is_file():
        return np.load(path, allow_pickle=False)
    frames = np.stack([from_uint8(picture) for picture in read_video(folder / "clips" / f"{clip_id}.mp4")])
    return _write_embedding(folder, clip_id, encoder, frames)
