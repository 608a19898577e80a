"""A folder of prepared footage: one small video per clip, a line of JSON about each, captions to be filled in.

::

    FOLDER/
      prepare.json      how it was made: size, frame rate, length
      clips.jsonl       a clip per line: id, group, scene, source, captions
      videos.jsonl      a video per line: what was made of it
      clips/ID.mp4      its frames, at the size and rate of training
      thumbnails/ID.png first, middle and last frame, to caption by
      latents-.../      written by training, or by `storymem data prepare --encode CONFIG`
      text-.../
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, overload

import torch

from storymem.errors import SettingsError
from storymem.media import from_uint8, read_video, resize_frame
from storymem.training.clips import Clip
from storymem.training.grouping import UnionFind

__all__ = ["FootageClip", "FootageSettings", "FootageSource", "read_clips", "read_settings", "write_clips"]


_FILE_SAFE = re.compile(r"[A-Za-z0-9-]+")  # ids become file names


@dataclass(frozen=True, slots=True)
class FootageSettings:
    """How clips were cut.

    Attributes:
        width: pixels.
        height: pixels.
        num_frames: frames of a clip, 4k + 1.
        fps: frames per second of a clip.
    """

    width: int
    height: int
    num_frames: int
    fps: int


@dataclass(frozen=True, slots=True)
class FootageClip:
    """One clip.

    Attributes:
        id: file-name safe, made of the video's name, its content and the first frame.
        group: number of the group of related clips.
        source: the video's file name.
        first_frame: of the video, where the clip begins.
        last_frame: of the video, where it ends.
        quality: mean score of its frames; None if none was asked for.
        captions: texts that describe it, one of which is drawn in training; empty until somebody writes them.
        scene: number of the scene that its group is a part of, see `group_related`; None where nobody has looked yet.
    """

    id: str
    group: int
    source: str
    first_frame: int
    last_frame: int
    quality: float | None
    captions: tuple[str, ...] = ()
    scene: int | None = None


_NO_FOOTAGE = "give a folder that `storymem data prepare` has made"


def read_settings(folder: Path, *, remedy: str = _NO_FOOTAGE) -> FootageSettings:
    """How the clips of a folder were cut.

    Args:
        folder: of prepared footage.
        remedy: what to do if it is none.

    Raises:
        SettingsError: it is no folder of prepared footage.
    """
    path = folder / "prepare.json"
    try:
        return FootageSettings(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f"{path}: cannot be read ({error}): {remedy}.") from error


def read_clips(folder: Path) -> list[FootageClip]:
    """The clips of a folder.

    Raises:
        SettingsError: a line of ``clips.jsonl`` is not as it should be; names it.
    """
    path = folder / "clips.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").split("\n")  # no other ends a line: captions may have them
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({error}): {_NO_FOOTAGE}.") from error
    clips: list[FootageClip] = []
    lines_of: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
            texts: Any = values.pop("captions")
            clip = FootageClip(**values)
        except (ValueError, TypeError, AttributeError, KeyError) as error:
            raise SettingsError(f"{path}:{number}: is not a clip ({error}); put the line back as it was.") from error
        for name, kind in (("id", str), ("group", int), ("source", str), ("first_frame", int), ("last_frame", int)):
            if type(getattr(clip, name)) is not kind:
                what = "text" if kind is str else "number"
                raise SettingsError(f"{path}:{number}: {name} must be a {what}; put the line back as it was.")
        if clip.scene is not None and type(clip.scene) is not int:
            raise SettingsError(f"{path}:{number}: scene must be a number; put the line back as it was.")
        if not _FILE_SAFE.fullmatch(clip.id):
            raise SettingsError(f"{path}:{number}: the id {clip.id!r} is none of ours; put the line back as it was.")
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            raise SettingsError(f'{path}:{number}: captions must be a list of texts, such as ["A fox runs."].')
        try:
            "".join([clip.source, *texts]).encode()
        except UnicodeEncodeError as error:  # half of a pair, as "\ud83d" alone
            raise SettingsError(
                f"{path}:{number}: has half a character ({error.object[error.start]!a}): write it whole, or leave it "
                "out."
            ) from error
        if lines_of.setdefault(clip.id, number) != number:
            raise SettingsError(
                f"{path}:{number}: the id {clip.id} is that of line {lines_of[clip.id]} too, and a clip would be its "
                "own memory: remove one of them."
            )
        clips.append(replace(clip, captions=tuple(texts)))
    return clips


def write_clips(folder: Path, clips: Iterable[FootageClip]) -> None:
    """Write ``clips.jsonl``, whole or not at all."""
    from storymem.film.storage import replace_file

    lines = (json.dumps(_values_of(clip), ensure_ascii=False) for clip in clips)
    replace_file(folder / "clips.jsonl", "".join(line + "\n" for line in lines).encode())


def _values_of(clip: FootageClip) -> dict[str, Any]:
    """What a line says of a clip, the captions last: there people write."""
    values = asdict(clip)
    scene = values.pop("scene")
    numbers = {"id": clip.id, "group": clip.group} | ({} if scene is None else {"scene": scene})
    return {**numbers, **values, "captions": list(clip.captions)}


def _scenes_of(groups: Sequence[Sequence[FootageClip]]) -> list[int]:
    """The scene of each group; of clips of which it is not known yet, all of one video are taken to be one."""
    together = UnionFind[Hashable]()
    unseen = {digest_in(clip.id) for group in groups for clip in group if clip.scene is None}
    for group in groups:
        together.join(_scene_of(clip) for clip in group)
        for clip in group:
            if (digest := digest_in(clip.id)) in unseen:
                together.join((_scene_of(clip), digest or clip.id))
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(together.root(_scene_of(group[0])), len(numbers)) for group in groups]


def _scene_of(clip: FootageClip) -> Hashable:
    if clip.scene is not None:
        return clip.scene
    return digest_in(clip.id) or clip.id


def digest_in(clip_id: str) -> str:
    """The beginning of the digest of the video that a clip is of; nothing where the id says none."""
    return "".join(clip_id.split("-")[-2:-1])


class FootageSource:
    """Prepared footage as groups of clips; groups are numbered anew, from 0, in their order.

    Args:
        folder: from `storymem data prepare`.
        width: pixels; another size than the clips' is scaled to cover and cut to its centre.
        height: pixels.
        num_frames: frames of a clip, at most as many as were cut; the first of them are taken.

    Raises:
        SettingsError: it is no such folder, it is empty, or its clips are too short.

    Attributes:
        groups: the clips of each.
        scenes: a number for each group; groups of different scenes have nothing in common.
    """

    def __init__(self, folder: Path, width: int, height: int, num_frames: int) -> None:
        self.folder = folder
        self.width, self.height, self.num_frames = width, height, num_frames
        settings = read_settings(folder)
        if num_frames > settings.num_frames:
            raise SettingsError(
                f"{folder}: its clips have {settings.num_frames} frames, but data.num_frames is {num_frames}: lower "
                "it, or prepare the footage again."
            )
        groups: dict[int, list[FootageClip]] = {}
        for clip in read_clips(folder):
            groups.setdefault(clip.group, []).append(clip)
        if not groups:
            raise SettingsError(f"{folder / 'clips.jsonl'}: has no clips; prepare footage with longer or better shots.")
        self.groups = [groups[number] for number in sorted(groups)]
        self.scenes = _scenes_of(self.groups)

    @property
    def identity(self) -> str:
        """See `ClipSource.identity`; captions are part of a clip."""
        clips = [[[clip.id, *clip.captions] for clip in group] for group in self.groups]
        parts = json.dumps([clips, self.width, self.height, self.num_frames])
        return hashlib.sha256(parts.encode()).hexdigest()[:16]

    @property
    def classes(self) -> tuple[int, ...]:
        """See `ClipSource.classes`: nobody has said what footage shows."""
        return ()

    def __len__(self) -> int:
        return len(self.groups)

    def size(self, index: int) -> int:
        """See `ClipSource.size`."""
        return len(self.groups[index])

    def group_ids(self, index: int) -> tuple[str, ...]:
        """See `CaptionedSource.group_ids`."""
        return tuple(clip.id for clip in self.groups[index])

    def group(self, index: int) -> Sequence[Clip]:
        """See `ClipSource.group`; a clip is read from disk whenever it is taken out."""
        return _GroupOnDisk(self, self.groups[index])

    def subjects(self, index: int, clip: int) -> Sequence[Sequence[int]]:
        """See `ClipSource.subjects`; who is in a clip is not known, so a group is taken to have one subject."""
        return [[other for other in range(self.size(index)) if other != clip]]

    def setting(self, index: int, clip: int) -> tuple[int, ...]:
        """See `ClipSource.setting`: not known."""
        return ()

    def captions(self, count: int) -> Sequence[str]:
        """See `ClipSource.captions`."""
        return self.all_captions()[:count]

    def captions_of(self, index: int) -> Sequence[tuple[str, ...]]:
        """See `CaptionedSource.captions_of`."""
        return [clip.captions for clip in self.groups[index]]

    def all_captions(self) -> list[str]:
        """Every caption, once."""
        return list(dict.fromkeys(text for group in self.groups for clip in group for text in clip.captions))

    def digest_of(self, groups: Sequence[int]) -> str:
        """A short name for the clips of some groups, in their order."""
        return hashlib.sha256(json.dumps([self.group_ids(index) for index in groups]).encode()).hexdigest()[:16]

    def require_captions(self) -> None:
        """Refuse to train on clips that nobody has described.

        Raises:
            SettingsError: how many lack a caption, and which is the first.
        """
        lacking = [clip.id for group in self.groups for clip in group if not clip.captions]
        if lacking:
            count = sum(map(len, self.groups))
            raise SettingsError(
                f"{self.folder / 'clips.jsonl'}: {len(lacking)} of {count} clips have no caption (the first is "
                f"{lacking[0]}): fill them in (thumbnails/ shows the clips), or remove their lines."
            )

    def frames(self, clip: FootageClip) -> torch.Tensor:
        """The pixels of a clip, ``[3, F, H, W]`` in [-1, 1].

        Raises:
            SettingsError: it is shorter than its settings say.
        """
        import numpy as np

        frames = []
        for picture in read_video(self.folder / "clips" / f"{clip.id}.mp4"):
            frames.append(resize_frame(from_uint8(picture), self.width, self.height))
            if len(frames) == self.num_frames:
                break
        if len(frames) < self.num_frames:
            raise SettingsError(
                f"{self.folder / 'clips' / clip.id}.mp4: has {len(frames)} frames instead of {self.num_frames}: "
                "prepare the footage again."
            )
        return torch.from_numpy(np.stack(frames, axis=1))


class _GroupOnDisk(Sequence[Clip]):
    """The clips of a group, each read when it is asked for: of one group they can be many gigabytes."""

    def __init__(self, source: FootageSource, clips: Sequence[FootageClip]) -> None:
        self._source = source
        self._clips = clips

    def __len__(self) -> int:
        return len(self._clips)

    @overload
    def __getitem__(self, number: int) -> Clip: ...

    @overload
    def __getitem__(self, number: slice) -> Sequence[Clip]: ...

    def __getitem__(self, number: int | slice) -> Clip | Sequence[Clip]:
        if isinstance(number, slice):
            return _GroupOnDisk(self._source, self._clips[number])
        clip = self._clips[number]
        return Clip(self._source.frames(clip), clip.captions)
