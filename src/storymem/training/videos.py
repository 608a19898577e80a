"""The list of a folder's videos: what was made of each, so that nothing is done twice and nothing taken out comes back.

``videos.jsonl`` has a line of JSON per video. A folder that was prepared before there was such a list has none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from storymem.errors import MediaError, SettingsError
from storymem.film.storage import hash_file, replace_file
from storymem.training.footage import FootageClip, digest_in

__all__ = ["PreparedVideo", "VideoFile", "VideoList"]


@dataclass(frozen=True, slots=True)
class VideoFile:
    """A file as it is found.

    Attributes:
        name: made of the file's name and its content; ids of its clips begin with it.
        digest: SHA-256 of the content, hexadecimal.
        path: where it lies, with nothing relative and no links.
        size: bytes.
        mtime_ns: when it was changed last.
    """

    name: str
    digest: str
    path: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class PreparedVideo:
    """A video that was prepared to its end.

    Attributes:
        file: as it was found last.
        clips_per_shot: clips cut from one shot at most.
        scorer: identity of what scored the clips; None if nothing did.
        threshold: score below which clips were dropped.
        encoder: identity of what embedded them; another one embeds the clips that are there.
        shots: first frame, and the one after the last, of each.
        clips: ids that were cut and good, now or the last time that this video was prepared with other options.
        hidden: (id, first frame, last frame) of clips that were not cut, because others show the same frames.
    """

    file: VideoFile
    clips_per_shot: int
    scorer: str | None
    threshold: float | None
    encoder: str
    shots: tuple[tuple[int, int], ...]
    clips: tuple[str, ...]
    hidden: tuple[tuple[str, int, int], ...]

    def is_as(self, other: PreparedVideo) -> bool:
        """Whether preparing it as the `other` was would give the same clips."""
        return (self.clips_per_shot, self.scorer, self.threshold) == (
            other.clips_per_shot,
            other.scorer,
            other.threshold,
        )

    def removed(self, listed: Container[str]) -> set[str]:
        """Ids that were cut and are not listed any more: somebody took them out."""
        return {clip_id for clip_id in self.clips if clip_id not in listed}


class VideoList:
    """``videos.jsonl``, read once: nobody else writes it.

    Args:
        folder: of prepared footage; the file may be missing.

    Raises:
        SettingsError: a line of the file is not as it should be.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "videos.jsonl"
        self._videos: dict[str, PreparedVideo] = {}
        self._lines: dict[str, str] = {}
        if self._path.is_file():
            for video in self._read():
                self._put(video)
        self._files = {video.file.path: video.file for video in self._videos.values()}

    def forget(self) -> None:
        """All of them, as where the list of clips is gone: it is begun anew."""
        for kept in (self._videos, self._lines, self._files):
            kept.clear()

    def find(self, path: Path) -> VideoFile:
        """A file with its digest; its content is read only if it is not where and as it was the last time.

        Raises:
            MediaError: it cannot be read.
        """
        try:
            place, now = str(path.resolve()), path.stat()
            file = self._files.get(place)
            if file is not None and (file.size, file.mtime_ns) == (now.st_size, now.st_mtime_ns):
                return file
            digest = hash_file(path)
        except OSError as error:
            reason = error.strerror or error
            raise MediaError(f"{path}: the video cannot be read ({reason}): write it again.") from error
        stem = re.sub(r"[^A-Za-z0-9]+", "-", path.stem)[:40].strip("-")
        return VideoFile(f"{stem}-{digest[:8]}", digest, place, now.st_size, now.st_mtime_ns)

    def before(self, file: VideoFile) -> PreparedVideo | None:
        """What was made of this content under this name; None if it is new."""
        video = self._videos.get(file.name)
        if video is None or video.file.digest != file.digest:
            return None
        if video.file != file:  # it was moved, or copied
            video = replace(video, file=file)
            self._put(video)
        return video

    def save(self, finished: Iterable[PreparedVideo] = ()) -> None:
        """Add videos and write the list, whole or not at all.

        Raises:
            StorageError: the system refused it.
        """
        for video in finished:
            self._put(video)
        replace_file(self._path, "".join(self._lines[name] for name in sorted(self._lines)).encode())

    def shots(self, clips: Sequence[FootageClip]) -> list[list[int]]:
        """Positions of the clips of each shot that has several."""
        of_video: dict[str, list[int]] = {}
        for place, clip in enumerate(clips):
            of_video.setdefault(digest_in(clip.id), []).append(place)
        found = []
        for digest, shots in {video.file.digest[:8]: video.shots for video in self._videos.values()}.items():
            ours = of_video.get(digest, [])
            for first, end in shots:
                shot = [place for place in ours if first <= clips[place].first_frame < end]
                if len(shot) > 1:
                    found.append(shot)
        return found

    def _put(self, video: PreparedVideo) -> None:
        self._videos[video.file.name] = video
        self._lines[video.file.name] = json.dumps(asdict(video)) + "\n"

    def _read(self) -> Iterable[PreparedVideo]:
        try:
            lines = self._path.read_text(encoding="utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"{self._path}: cannot be read ({error}): put it back, or remove it, and all is prepared again."
            ) from error
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
                yield PreparedVideo(
                    file=VideoFile(**values.pop("file")),
                    shots=tuple((int(first), int(end)) for first, end in values.pop("shots")),
                    clips=tuple(map(str, values.pop("clips"))),
                    hidden=tuple((str(clip), int(first), int(last)) for clip, first, last in values.pop("hidden")),
                    **values,
                )
            except (ValueError, TypeError, AttributeError, KeyError) as error:
                raise SettingsError(
                    f"{self._path}:{number}: is not a video ({error}); remove the line, and it is prepared again."
                ) from error
