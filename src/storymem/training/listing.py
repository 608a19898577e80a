"""The list of a folder's clips while footage is prepared."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from storymem.training.footage import FootageClip, read_clips, write_clips

__all__ = ["ClipList", "FoundClips"]


@dataclass
class FoundClips:
    """What videos gave.

    Attributes:
        shots: first frame, and the one after the last, of each that was found.
        too_short: shots shorter than a clip.
        hidden: (id, first frame, last frame) of clips left out, because others that are listed show some of the same
            frames.
        good: clips that were cut, by id.
        bad: scores of clips that are too bad, by id.
    """

    shots: list[tuple[int, int]] = field(default_factory=list)
    too_short: int = 0
    hidden: list[tuple[str, int, int]] = field(default_factory=list)
    good: dict[str, FootageClip] = field(default_factory=dict)
    bad: dict[str, float] = field(default_factory=dict)


class ClipList:
    """``clips.jsonl`` while it grows. People write captions into it meanwhile: it is read before each writing.

    Args:
        folder: of prepared footage; the file may be missing.

    Attributes:
        clips: by id, as last read or written.

    Raises:
        SettingsError: a line of the file is not as it should be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clips: dict[str, FootageClip] = {}
        self._waiting = FoundClips()
        self._read()

    def is_captioned(self, clip_id: str) -> bool:
        """Whether somebody has described that clip."""
        return clip_id in self.clips and bool(self.clips[clip_id].captions)

    def shows(self, digest: str, clip_id: str, frames: Sequence[int]) -> bool:
        """Whether another clip has some of these frames: of the same video, cut otherwise, or of a copy of it.

        Args:
            digest: of the video, as ids have it.
            clip_id: of the clip that these frames would make; if it is there itself, it is made anew.
            frames: in order.
        """
        clips = self.clips | self._waiting.good
        return clip_id not in clips and any(
            clip.id.split("-")[-2:-1] == [digest] and clip.first_frame <= frames[-1] and frames[0] <= clip.last_frame
            for clip in clips.values()
        )

    def add(self, found: FoundClips) -> None:
        """Have clips wait for the next `save`."""
        self._waiting.good |= found.good
        self._waiting.bad |= found.bad

    def save(self, places: Mapping[str, tuple[int, int | None]] | None = None) -> None:
        """Read the file, add what waits, and write it.

        Args:
            places: group and scene of the clips by id; None leaves them as they are. Clips not in it are alone.

        Raises:
            SettingsError: the file cannot be read; it stays as it is, and what waits goes on waiting.
            StorageError: it cannot be written; the same.
        """
        self._read()
        clips = dict(self.clips)
        if places is None:
            places = {clip.id: (clip.group, clip.scene) for clip in clips.values()}
        for clip in self._waiting.good.values():
            clips[clip.id] = replace(clip, captions=clips[clip.id].captions if clip.id in clips else ())
        for clip_id, quality in self._waiting.bad.items():
            if self.is_captioned(clip_id):  # work of somebody's hands: worth more than a score
                clips[clip_id] = replace(clips[clip_id], quality=quality)
            else:
                clips.pop(clip_id, None)
        taken = {group for group, _ in places.values()}
        alone = (number for number in itertools.count() if number not in taken)
        listed = []
        for clip_id in sorted(clips):
            group, scene = places[clip_id] if clip_id in places else (next(alone), None)
            listed.append(replace(clips[clip_id], group=group, scene=scene))
        write_clips(self.folder, listed)
        self.clips = {clip.id: clip for clip in listed}
        self._waiting = FoundClips()

    def _read(self) -> None:
        found = read_clips(self.folder) if (self.folder / "clips.jsonl").is_file() else []
        if found:  # some editors empty or remove a file just before they write it
            self.clips = {clip.id: clip for clip in found}
