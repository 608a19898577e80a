"""The finished film: the shots joined into one MP4, and each shot's clip.

The film is encoded once, from the lossless masters of the takes, frame by frame: nothing is decoded from a lossy file
and encoded again, and memory use does not grow with the film. Shots that continue the one before lose the frames that
they share with it: 1 after MI2V, 5 after MM2V.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path

from storymem.errors import FilmDamagedError, FilmError, MediaError
from storymem.film.storage import make_folder
from storymem.media import Chapter, FloatArray, Uint8Array, probe_video, read_video, write_video

__all__ = [
    "Edit",
    "EditShot",
    "MemoryPicture",
    "Progress",
    "check_masters",
    "clip_name",
    "elide",
    "join_film",
    "reading_master",
    "shot_frames",
    "write_clips",
]

Progress = Callable[[int, int], None]
"""Called with the frames done and the frames in all."""


@dataclass(frozen=True, slots=True)
class MemoryPicture:
    """A keyframe that a shot saw.

    Attributes:
        key: what the picture is known by; pictures with one key are the same picture and are loaded once.
        label: where it comes from, such as the shot's id.
        load: gives the picture, float ``[3, H, W]`` in [-1, 1] or uint8 ``[H, W, 3]``; called when it is drawn.
    """

    key: str
    label: str
    load: Callable[[], FloatArray | Uint8Array]


@dataclass(frozen=True, slots=True)
class EditShot:
    """One shot as it goes into the film.

    Attributes:
        id: unique in the film; becomes a part of file names.
        prompt: as written.
        master: the lossless video of the whole take.
        num_frames: frames of the master, those to drop included.
        drop: frames at its start that repeat the end of the shot before.
        scene: its number, from 1.
        scene_title: what the script calls that scene; may be empty.
        mode: how it was conditioned: ``t2v``, ``m2v``, ``mi2v`` or ``mm2v``.
        seed: of its take.
        memory: the keyframes it saw, oldest first.
        keyframes: frames of the take that were chosen for the memory of later shots.
        settings: whatever else made it; must be JSON.
    """

    id: str
    prompt: str
    master: Path
    num_frames: int
    drop: int = 0
    scene: int = 1
    mode: str = ""
    seed: int | None = None
    memory: tuple[MemoryPicture, ...] = ()
    keyframes: tuple[int, ...] = ()
    settings: Mapping[str, object] = field(default_factory=dict)
    scene_title: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\w[\w.-]*", self.id):
            raise FilmError(f"The shot id {self.id!r} cannot be a file name: use letters, digits, '.', '_' and '-'.")
        if not 0 <= self.drop < self.num_frames:
            raise FilmError(
                f"Shot {self.id} has {self.num_frames} frames and {self.drop} of them are to be dropped: "
                "at least one must stay; make the shot longer."
            )

    @property
    def length(self) -> int:
        """Frames of it in the film."""
        return self.num_frames - self.drop


@dataclass(frozen=True, slots=True)
class Edit:
    """A film as a list of shots.

    Attributes:
        title: of the film.
        fps: frames per second of every shot.
        shots: in order.
        settings: of the film; must be JSON. They go into the files' metadata.
    """

    title: str
    fps: int | Fraction
    shots: tuple[EditShot, ...]
    settings: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.shots:
            raise FilmError(f"The film {self.title!r} has no shots yet: make at least one, then export it.")
        if self.fps <= 0:
            raise FilmError(f"The film {self.title!r} has {self.fps} frames per second; it must be above 0.")
        ids = [shot.id for shot in self.shots]
        for shot_id in ids:
            if ids.count(shot_id) > 1:
                raise FilmError(f"Two shots of the film {self.title!r} have the id {shot_id}: give each its own.")

    @property
    def num_frames(self) -> int:
        """Frames of the film: the sum of the shots' trimmed lengths."""
        return sum(shot.length for shot in self.shots)

    @property
    def starts(self) -> tuple[int, ...]:
        """The film's frame at which each shot begins."""
        starts = [0]
        for shot in self.shots[:-1]:
            starts.append(starts[-1] + shot.length)
        return tuple(starts)


def join_film(edit: Edit, path: Path, *, crf: int = 17, on_progress: Progress | None = None) -> int:
    """Write the film as one MP4: H.264, a chapter for every shot, title and settings in its metadata.

    Args:
        edit: the film.
        path: of the MP4; replaced whole or not at all.
        crf: quality, see `write_video`.
        on_progress: called after every frame.

    Returns:
        The number of frames written: `edit.num_frames`.

    Raises:
        FilmError: the shots do not have one size and the film's frame rate.
        FilmDamagedError: a master is missing, damaged, or has another number of frames than its shot.
        StorageError: the operating system refused a write.
    """
    check_masters(edit)
    chapters = [
        Chapter(f"{shot.id}  {elide(shot.prompt, 56)}", start, start + shot.length)
        for shot, start in zip(edit.shots, edit.starts, strict=True)
    ]
    return write_video(
        path,
        _watched(_film_frames(edit), edit.num_frames, on_progress),
        Fraction(edit.fps),
        crf=crf,
        metadata={"title": edit.title, "comment": _json(edit.settings)},
        chapters=chapters,
    )


def write_clips(edit: Edit, folder: Path, *, crf: int = 17, on_progress: Progress | None = None) -> tuple[Path, ...]:
    """Write every shot as an MP4 of its own, ``01_<id>.mp4`` and so on.

    A clip is the whole take, with the frames that the film drops: an editor needs them as handles, and the timeline
    says which part the film uses.

    Args:
        edit: the film.
        folder: created if it is missing; files of other names in it are left alone.
        crf: quality, see `write_video`.
        on_progress: called after every frame.

    Returns:
        The files, in the order of the shots.

    Raises:
        FilmError: the shots do not have one size and the film's frame rate.
        FilmDamagedError: a master is missing, damaged, or has another number of frames than its shot.
        StorageError: the operating system refused a write.
    """
    check_masters(edit)
    make_folder(folder)
    total = sum(shot.num_frames for shot in edit.shots)
    done, paths = 0, []
    for index, shot in enumerate(edit.shots):
        path = folder / clip_name(edit, index)
        settings = {"film": edit.title, "shot": shot.id, "prompt": shot.prompt, "mode": shot.mode, "seed": shot.seed}
        done += write_video(
            path,
            _watched(shot_frames(shot), total, on_progress, done),
            Fraction(edit.fps),
            crf=crf,
            metadata={"title": f"{edit.title}: {shot.id}", "comment": _json({**shot.settings, **settings})},
        )
        paths.append(path)
    return tuple(paths)


def clip_name(edit: Edit, index: int) -> str:
    """The file name of a shot's clip: its place in the film, from 1, and its id."""
    digits = max(2, len(str(len(edit.shots))))
    return f"{index + 1:0{digits}d}_{edit.shots[index].id}.mp4"


def check_masters(edit: Edit) -> tuple[int, int]:
    """Make sure that the masters are what the edit says.

    Returns:
        Width and height of the film.

    Raises:
        FilmError: the shots do not have one size and the film's frame rate.
        FilmDamagedError: a master is missing, unreadable, or has another number of frames than its shot.
    """
    first_size = None
    for shot in edit.shots:
        with reading_master(shot):
            info = probe_video(shot.master)
        if info.num_frames != shot.num_frames:
            raise FilmDamagedError(
                f"{shot.master}: shot {shot.id} should have {shot.num_frames} frames and its master has "
                f"{info.num_frames}: make the shot again."
            )
        size = (info.width, info.height)
        first_size = first_size or size
        if size != first_size:
            raise FilmError(
                f"Shot {shot.id} is {size[0]}x{size[1]} and {edit.shots[0].id} is {first_size[0]}x{first_size[1]}: all "
                "shots of a film must have one size; make one of them again in the size of the others."
            )
        if info.fps != Fraction(edit.fps):
            raise FilmError(
                f"Shot {shot.id} has {float(info.fps):g} frames per second and the film has {float(edit.fps):g}: "
                "all shots of a film must have one frame rate; make the shot again."
            )
    assert first_size is not None
    return first_size


def shot_frames(shot: EditShot) -> Iterator[Uint8Array]:
    """All frames of a shot's master, uint8 ``[H, W, 3]``.

    Raises:
        FilmDamagedError: the master is missing or damaged.
    """
    with reading_master(shot):
        yield from read_video(shot.master)


def elide(text: str, length: int) -> str:
    """The text on one line, with an ellipsis in the place of what goes beyond `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


@contextmanager
def reading_master(shot: EditShot) -> Iterator[None]:
    """A master that cannot be read is damage to the film, not a mistake of the user."""
    try:
        yield
    except MediaError as error:
        what = str(error).rpartition(": ")[0]  # without the remedy, which is for videos of people's own
        raise FilmDamagedError(
            f"Shot {shot.id}: {what}: `storymem generate`, run again as before, makes the shot anew."
        ) from error


def _film_frames(edit: Edit) -> Iterator[Uint8Array]:
    for shot in edit.shots:
        yield from islice(shot_frames(shot), shot.drop, None)


def _watched(
    frames: Iterator[Uint8Array], total: int, on_progress: Progress | None, done: int = 0
) -> Iterator[Uint8Array]:
    for frame in frames:
        yield frame
        done += 1
        if on_progress is not None:
            on_progress(done, total)


def _json(settings: Mapping[str, object]) -> str:
    return json.dumps(settings, ensure_ascii=False, sort_keys=True)
