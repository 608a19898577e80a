"""From real videos to training clips: shots, quality, embeddings, groups of related clips."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from storymem.errors import MediaError, SettingsError
from storymem.film.storage import hash_file, make_folder, remove_file, replace_file
from storymem.media import from_uint8, read_video, resize_frame, to_uint8, write_png, write_video
from storymem.training.footage import FootageClip, FootageSettings, read_settings
from storymem.training.listing import ClipList, FoundClips
from storymem.training.shots import detect_shots, find_shots, windows_of

if TYPE_CHECKING:
    from storymem.memory.encoders import AestheticScorer, FrameEncoder

__all__ = ["PrepareReport", "detect_shots", "find_videos", "group_related", "prepare_footage", "windows_of"]

_LOOKED_AT = 5  # frames of a clip that are scored and embedded
_SUFFIXES = {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".mpeg"}


@dataclass
class PrepareReport:
    """What came of the footage.

    Attributes:
        left_out: videos that could not be read.
        shots: found.
        too_short: shots shorter than a clip.
        too_bad: clips left out for their quality.
        clips: kept, of all videos in the folder.
        groups: with two clips or more.
        alone: clips that nothing is related to; they have no memory.
        captioned: clips that have a caption.
    """

    left_out: int = 0
    shots: int = 0
    too_short: int = 0
    too_bad: int = 0
    clips: int = 0
    groups: int = 0
    alone: int = 0
    captioned: int = 0


def find_videos(paths: Sequence[Path], output: Path | None = None) -> list[Path]:
    """The videos among files and folders, folders looked through by suffix, in order.

    Args:
        paths: files and folders.
        output: a folder of prepared footage: where it lies inside one of the folders, it is no footage. Of a folder
            that is the output, or lies inside it, only the clips that were cut are left out.

    Raises:
        MediaError: a path is not there, or there is no video in any of them.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _SUFFIXES and file.is_file())
            if output is not None:
                is_inside = path.resolve() in output.resolve().parents
                ours = output.resolve() if is_inside else (output / "clips").resolve()
                files = [file for file in files if not file.resolve().is_relative_to(ours)]
            found += files
        elif path.is_file():
            found.append(path)
        else:
            raise MediaError(f"{path}: there is no such video or folder: check the path.")
    if not found:
        raise MediaError(f"{paths[0]}: no videos there; looked for {', '.join(sorted(_SUFFIXES))}.")
    return list(dict.fromkeys(found))


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
    on_trouble: Callable[[str], None] | None = None,
) -> PrepareReport:
    """Cut videos into clips and group them. Done again with more videos, it adds theirs; captions stay.

    The list of clips is written after each video, with the captions that it has on disk by then. A video that cannot
    be read is left out; the others are prepared.

    Args:
        videos: files.
        folder: for the result.
        settings: size, length and rate of clips; the same each time for one folder.
        encoder: of frames; says which clips are related.
        scorer: of frames; None keeps every clip.
        min_quality: mean score below which a clip is dropped, unless it has captions; None is the scorer's own
            threshold.
        similarity: clips less alike than this are not joined to a group.
        largest_group: clips in a group at most; the method had about 16.
        clips_per_shot: clips cut from one shot at most.
        on_video: called with each video and the number of its clips.
        on_trouble: called with one sentence about each video that is left out, of which clips are left out because
            others show the same frames, and whenever the list of clips cannot be read in between; that is tried again
            after the next video.

    Raises:
        SettingsError: the folder was prepared with other settings, its files are damaged, or a number is out of range.
        StorageError: the system refused a write; the clips of the videos before it are listed.
        MissingExtraError: PySceneDetect is not installed.
    """
    _check_numbers(
        {"similarity": similarity, "min_quality": min_quality},
        {"clips_per_shot": clips_per_shot, "largest_group": largest_group},
    )
    _check_settings(folder, settings)
    report = PrepareReport()
    listing = ClipList(folder)
    threshold = min_quality if min_quality is not None or scorer is None else scorer.default_threshold
    bad: set[str] = set()
    for path in videos:
        found = FoundClips()
        try:
            _cut_video(path, folder, settings, listing, found, clips_per_shot, encoder, scorer, threshold)
        except MediaError as error:
            report.left_out += 1
            for clip_id in found.good.keys() - listing.clips.keys():  # cut before the damage was met
                _remove_clip(folder, clip_id, encoder)
            if on_trouble is not None:
                on_trouble(f"left out: {error}")
            continue
        report.shots += found.shots
        report.too_short += found.too_short
        bad |= found.bad.keys()
        if found.there and on_trouble is not None:
            on_trouble(
                f"{path}: {found.there} clips are left out, because clips that are listed show the same frames: remove "
                "the lines of those to have these."
            )
        listing.add(found)
        try:
            listing.save()
        except SettingsError as error:  # somebody is in the middle of a line
            if on_trouble is not None:
                on_trouble(f"clips of {path} are not listed yet: {error}")
        if on_video is not None:
            on_video(path, len(found.good) + sum(listing.is_captioned(clip_id) for clip_id in found.bad))
    listing.save()
    ids = sorted(listing.clips)
    groups: list[int] = []
    if ids:
        embeddings = np.stack([_read_embedding(folder, clip_id, encoder) for clip_id in ids])
        groups = group_related(embeddings, similarity=similarity, largest=largest_group)
    listing.save(dict(zip(ids, groups, strict=True)))
    clips = listing.clips.values()
    sizes = [sum(clip.group == group for clip in clips) for group in {clip.group for clip in clips}]
    report.too_bad = len(bad - listing.clips.keys())
    report.clips = len(clips)
    report.groups = sum(size > 1 for size in sizes)
    report.alone = sum(size == 1 for size in sizes)
    report.captioned = sum(bool(clip.captions) for clip in clips)
    return report


def _check_numbers(shares: Mapping[str, float | None], counts: Mapping[str, int]) -> None:
    for name, share in shares.items():
        if share is not None and math.isnan(share):
            raise SettingsError(f"{name} is {share}; it must be a number.")
    for name, count in counts.items():
        if count < 1:
            raise SettingsError(f"{name} is {count}; it must be 1 or more.")


def _check_settings(folder: Path, settings: FootageSettings) -> None:
    """Start a folder, or see that it was started with the same settings."""
    make_folder(folder)
    path = folder / "prepare.json"
    if not path.is_file():
        replace_file(path, json.dumps(asdict(settings), indent=2).encode())
        return
    remedy = "remove it if the clips there were made with the settings of this command, else use another folder"
    if read_settings(folder, remedy=remedy) != settings:
        raise SettingsError(
            f"{folder}: was prepared with other settings (see prepare.json): use those, or another folder."
        )


def _cut_video(
    path: Path,
    folder: Path,
    settings: FootageSettings,
    listing: ClipList,
    found: FoundClips,
    clips_per_shot: int,
    encoder: FrameEncoder,
    scorer: AestheticScorer | None,
    threshold: float | None,
) -> None:
    """Cut one video and note in `found` what came of it; if it is damaged, the clips before the damage are noted."""
    windows = []
    shots, times = find_shots(path)
    found.shots = len(shots)
    for first, end in shots:
        cut = windows_of(first, end, times, settings, clips_per_shot)
        found.too_short += not cut
        windows += cut
    try:
        digest = hash_file(path)
    except OSError as error:
        raise MediaError(f"{path}: the video cannot be read ({error.strerror or error}): write it again.") from error
    name = f"{re.sub(r'[^A-Za-z0-9]+', '-', path.stem)[:40].strip('-')}-{digest[:8]}"
    ids = {window: f"{name}-{window[0]:07d}" for window in windows}
    new = [window for window in windows if not listing.shows(digest[:8], ids[window], window)]
    found.there = len(windows) - len(new)
    source = path.name.encode(errors="replace").decode()  # a name may be no UTF-8, the list is
    for window, frames in _cut(path, new, settings):
        clip_id = ids[window]
        quality = _quality(frames, scorer)
        if quality is not None and threshold is not None and quality < threshold:
            found.bad[clip_id] = quality
            continue
        found.good[clip_id] = FootageClip(clip_id, 0, source, window[0], window[-1], quality)
        _write_clip(folder, clip_id, frames, settings.fps)
        _write_embedding(folder, clip_id, encoder, frames)


def _cut(
    path: Path, windows: Sequence[tuple[int, ...]], settings: FootageSettings
) -> Iterator[tuple[tuple[int, ...], npt.NDArray[np.float32]]]:
    """The frames ``[F, 3, H, W]`` of each window, in one pass through the video; windows are in order.

    Raises:
        MediaError: the video is damaged, or has fewer frames than were counted in it.
    """
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
    raise MediaError(f"{path}: {len(waiting)} of its clips were not met when it was read again: write it again.")


def _some(frames: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    positions = np.linspace(0, len(frames) - 1, min(_LOOKED_AT, len(frames))).round().astype(int)
    return np.take(frames, positions, axis=0)


def _quality(frames: npt.NDArray[np.float32], scorer: AestheticScorer | None) -> float | None:
    return None if scorer is None else float(np.mean(scorer.score(_some(frames))))


def _write_clip(folder: Path, clip_id: str, frames: npt.NDArray[np.float32], fps: int) -> None:
    clip, thumbnail = _clip_paths(folder, clip_id)
    for path in (clip, thumbnail):
        make_folder(path.parent)
    write_video(clip, iter(frames), fps, crf=10)
    three = [frames[0], frames[len(frames) // 2], frames[-1]]
    write_png(thumbnail, to_uint8(np.concatenate(three, axis=2)))


def _remove_clip(folder: Path, clip_id: str, encoder: FrameEncoder) -> None:
    for path in (*_clip_paths(folder, clip_id), _embedding_path(folder, clip_id, encoder)):
        remove_file(path)


def _clip_paths(folder: Path, clip_id: str) -> tuple[Path, Path]:
    """A clip and its thumbnail."""
    return folder / "clips" / f"{clip_id}.mp4", folder / "thumbnails" / f"{clip_id}.png"


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
    """A clip's embedding; made again from the clip if it is damaged, or was made with another encoder."""
    with suppress(OSError, ValueError, EOFError):
        return np.load(_embedding_path(folder, clip_id, encoder), allow_pickle=False)
    frames = np.stack([from_uint8(picture) for picture in read_video(_clip_paths(folder, clip_id)[0])])
    return _write_embedding(folder, clip_id, encoder, frames)
