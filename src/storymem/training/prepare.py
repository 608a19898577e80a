"""From real videos to training clips: shots, quality, embeddings, groups of related clips."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from storymem.errors import MediaError, SettingsError
from storymem.film.lock import locked
from storymem.film.storage import hash_file, make_folder, remove_file, rename, replace_file
from storymem.media import from_uint8, read_video, resize_frame, to_uint8, write_png, write_video
from storymem.training.finding import find_videos
from storymem.training.footage import FootageClip, FootageSettings, read_settings
from storymem.training.grouping import group_related
from storymem.training.listing import ClipList, FoundClips
from storymem.training.shots import detect_shots, find_shots, windows_of
from storymem.training.videos import PreparedVideo, VideoFile, VideoList

if TYPE_CHECKING:
    from storymem.memory.encoders import AestheticScorer, FrameEncoder

__all__ = ["PrepareReport", "detect_shots", "find_videos", "group_related", "prepare_footage", "windows_of"]

_LOOKED_AT = 5  # frames of a clip that are scored and embedded


@dataclass
class PrepareReport:
    """What came of the footage.

    Attributes:
        left_out: videos that could not be read.
        as_before: videos that were prepared before with the same options; the next three numbers are of the others.
        shots: found.
        too_short: shots shorter than a clip.
        too_bad: clips left out for their quality.
        clips: kept, of all videos in the folder.
        groups: with two clips or more.
        alone: clips that nothing is related to; they have no memory.
        captioned: clips that have a caption.
    """

    left_out: int = 0
    as_before: int = 0
    shots: int = 0
    too_short: int = 0
    too_bad: int = 0
    clips: int = 0
    groups: int = 0
    alone: int = 0
    captioned: int = 0


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
    be read is left out; the others are prepared. What was made of each is noted: with the same options it is not made
    again as long as its clips are there, and clips whose lines were taken out do not come back.

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
        on_video: called with each video and the number of its clips that are listed.
        on_trouble: called with one sentence about each video that is left out, of which clips are left out because
            others show the same frames, of listed clips without a file, and whenever the list of clips
            cannot be read in between; that is tried again after the next video.

    Raises:
        SettingsError: the folder was prepared with other settings, its files are damaged, a number is out of range, or
            there is a threshold and nothing that scores.
        FilmLockedError: another process prepares or encodes footage in the folder.
        StorageError: the system refused a write; the clips of the videos before it are listed.
        MissingExtraError: PySceneDetect is not installed.
    """
    _check_numbers(
        {"similarity": similarity, "min_quality": min_quality},
        {"clips_per_shot": clips_per_shot, "largest_group": largest_group},
    )
    if scorer is None and min_quality is not None:
        raise SettingsError(
            f"min_quality is {min_quality}, but nothing scores the clips: leave it out, or choose a scorer."
        )
    make_folder(folder)
    with locked(folder):
        _check_settings(folder, settings)
        work = _Work(folder, settings, encoder, scorer, min_quality, clips_per_shot, on_trouble)
        for path in videos:
            work.prepare(path, on_video)
        return work.finish(similarity, largest_group)


class _Work:
    """One call of `prepare_footage`; see there."""

    def __init__(
        self,
        folder: Path,
        settings: FootageSettings,
        encoder: FrameEncoder,
        scorer: AestheticScorer | None,
        min_quality: float | None,
        clips_per_shot: int,
        on_trouble: Callable[[str], None] | None,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.encoder = encoder
        self.scorer = scorer
        self.threshold = min_quality if min_quality is not None or scorer is None else scorer.default_threshold
        self.clips_per_shot = clips_per_shot
        self.tell = on_trouble or (lambda message: None)
        self.report = PrepareReport()
        self.listing = ClipList(folder)
        self.known = VideoList(folder)
        if not self.listing.clips:  # nobody takes out all that there is: it is begun anew
            self.known.forget()
        self.bad: set[str] = set()
        self._unlisted: list[tuple[PreparedVideo, FoundClips]] = []

    def prepare(self, path: Path, on_video: Callable[[Path, int], None] | None) -> None:
        """Cut a video, if it is not as it was, and list its clips."""
        found, listing = FoundClips(), self.listing
        try:
            file = self.known.find(path)
            before = self.known.before(file)
            now = PreparedVideo(
                file=file,
                clips_per_shot=self.clips_per_shot,
                scorer=None if self.scorer is None else self.scorer.identity,
                threshold=self.threshold,
                encoder=self.encoder.identity,
                shots=(),
                clips=(),
                hidden=(),
            )
            if before is not None and before.is_as(now) and self._is_there(before):
                self.report.as_before += 1
                self._tell_hidden(path, len(before.hidden))
                if on_video is not None:
                    on_video(path, sum(clip_id in listing.clips for clip_id in before.clips))
                return
            removed = set() if before is None else before.removed(listing.clips)
            self._cut(path, file, found, removed)
        except MediaError as error:
            self.report.left_out += 1
            for clip_id in found.good.keys() - listing.clips.keys():  # cut before the damage was met
                _remove_clip(self.folder, clip_id, self.encoder)
            self.tell(f"left out: {error}")
            return
        self.report.shots += len(found.shots)
        self.report.too_short += found.too_short
        self.bad |= found.bad.keys()
        self._tell_hidden(path, len(found.hidden))
        listing.add(found)
        # Those that were taken out too, or were cut with other options; what is too bad now nobody took out.
        known = () if before is None else tuple(i for i in before.clips if i not in found.bad)
        now = replace(now, shots=tuple(found.shots), clips=known, hidden=tuple(found.hidden))
        self._unlisted.append((now, found))
        try:
            self._save()
        except SettingsError as error:  # somebody is in the middle of a line
            self.tell(f"clips of {path} are not listed yet: {error}")
        if on_video is not None:
            on_video(path, len(found.good) + sum(listing.is_captioned(clip_id) for clip_id in found.bad))

    def finish(self, similarity: float, largest_group: int) -> PrepareReport:
        """Group what is listed, and count."""
        listing, report = self.listing, self.report
        self._save()
        clips = [listing.clips[clip_id] for clip_id in sorted(listing.clips)]
        lost = [clip.id for clip in clips if not _clip_paths(self.folder, clip.id)[0].is_file()]
        if lost:  # of videos that were not given, or cut with other options
            self.tell(
                f"of {len(lost)} listed clips the file is gone, such as {lost[0]}: take their lines out of "
                "clips.jsonl, or prepare their videos with the options that they were cut with."
            )
        if clips:
            embeddings = np.stack([_read_embedding(self.folder, clip.id, self.encoder) for clip in clips])
            grouping = group_related(
                embeddings, similarity=similarity, largest=largest_group, together=self.known.shots(clips)
            )
            places = zip(grouping.groups, grouping.scenes, strict=True)
            listing.save({clip.id: place for clip, place in zip(clips, places, strict=True)})
        sizes = Counter(clip.group for clip in listing.clips.values())
        report.too_bad = len(self.bad - listing.clips.keys())
        report.clips = len(listing.clips)
        report.groups = sum(size > 1 for size in sizes.values())
        report.alone = sum(size == 1 for size in sizes.values())
        report.captioned = sum(bool(clip.captions) for clip in listing.clips.values())
        return report

    def _save(self) -> None:
        """The list of clips, and after it that of videos: one whose clips are not listed is not done."""
        self.listing.save()
        self.known.save(
            replace(
                video,
                clips=tuple(sorted({*video.clips, *(i for i in (*found.good, *found.bad) if i in self.listing.clips)})),
            )
            for video, found in self._unlisted
        )
        self._unlisted = []

    def _is_there(self, video: PreparedVideo) -> bool:
        """Whether clips of a video that are listed lie in the folder, and those that hid others are still listed."""
        listed = [clip_id for clip_id in video.clips if clip_id in self.listing.clips]
        return all(path.is_file() for clip_id in listed for path in _clip_paths(self.folder, clip_id)) and all(
            self.listing.shows(video.file.digest[:8], clip_id, (first, last)) for clip_id, first, last in video.hidden
        )

    def _tell_hidden(self, path: Path, count: int) -> None:
        if count:
            self.tell(
                f"{path}: {count} clips are left out, because clips that are listed show the same frames: remove the "
                "lines of those to have these."
            )

    def _cut(self, path: Path, file: VideoFile, found: FoundClips, removed: Container[str]) -> None:
        """Cut one video and note in `found` what came of it; if it is damaged, the clips before it are noted."""
        windows = []
        found.shots, times = find_shots(path)
        for first, end in found.shots:
            cut = windows_of(first, end, times, self.settings, self.clips_per_shot)
            found.too_short += not cut
            windows += cut
        ids = {window: f"{file.name}-{window[0]:07d}" for window in windows}
        new = []
        for window in windows:
            if ids[window] in removed:
                continue
            if self.listing.shows(file.digest[:8], ids[window], window):
                found.hidden.append((ids[window], window[0], window[-1]))
            else:
                new.append(window)
        source = path.name.encode(errors="replace").decode()  # a name may be no UTF-8, the list is
        for window, frames in _cut(path, new, self.settings):
            clip_id = ids[window]
            quality = _quality(frames, self.scorer)
            if quality is not None and self.threshold is not None and quality < self.threshold:
                found.bad[clip_id] = quality
                continue
            found.good[clip_id] = FootageClip(clip_id, 0, source, window[0], window[-1], quality)
            _write_clip(self.folder, clip_id, frames, self.settings.fps)
            _write_embedding(self.folder, clip_id, self.encoder, frames)


def _check_numbers(shares: Mapping[str, float | None], counts: Mapping[str, int]) -> None:
    for name, share in shares.items():
        if share is not None and math.isnan(share):
            raise SettingsError(f"{name} is {share}; it must be a number.")
    for name, count in counts.items():
        if count < 1:
            raise SettingsError(f"{name} is {count}; it must be 1 or more.")


def _check_settings(folder: Path, settings: FootageSettings) -> None:
    """Start a folder, or see that it was started with the same settings."""
    path = folder / "prepare.json"
    if not path.is_file():
        replace_file(path, json.dumps(asdict(settings), indent=2).encode())
        return
    remedy = "remove it if the clips there were made with the settings of this command, else use another folder"
    if read_settings(folder, remedy=remedy) != settings:
        raise SettingsError(
            f"{folder}: was prepared with other settings (see prepare.json): use those, or another folder."
        )


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
    new = clip.with_name(f".new-{clip.name}")
    write_video(new, iter(frames), fps, crf=10)
    if clip.is_file() and hash_file(clip) != hash_file(new):
        for latents in folder.glob(f"latents-*/{clip_id}.safetensors"):  # of other pixels
            remove_file(latents)
    rename(new, clip)
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
