"""The way through a film: what every shot sees follows from the takes of those before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from storymem.film import portraits
from storymem.film.maker import MOTION_FRAMES, FloatArray, Mode, no_known_frames
from storymem.film.project import Film
from storymem.film.takes import SeenKeyframe, Take, keyframe_label, preview_name
from storymem.memory.bank import Keyframe, MemoryBank, MemoryPolicy
from storymem.memory.recall import recalled
from storymem.story.model import Shot

__all__ = ["Sight", "Walk"]


@dataclass(frozen=True, eq=False)
class Sight:
    """What a shot gets from the shots before it.

    Attributes:
        bank: the memory.
        seen: its keyframes, in order, for people and files.
        known_frames: ``[K, 3, H, W]``, the frames the shot begins with.
        continues: the shot that they come from; None after a cut.
    """

    bank: MemoryBank
    seen: tuple[SeenKeyframe, ...]
    known_frames: FloatArray = field(default_factory=no_known_frames)
    continues: str | None = None

    @property
    def mode(self) -> Mode:
        """What the shot is conditioned on."""
        if len(self.known_frames):
            return "mi2v" if len(self.known_frames) == 1 else "mm2v"
        return "m2v" if len(self.bank) else "t2v"


class Walk:
    """The way through a film's portraits and shots, in order: `enter` one, then `leave` it with its take.

    Raises:
        FilmError: a shot is too short to continue the one before.
        FilmDamagedError: the reference images are not as they were written.
    """

    def __init__(self, film: Film) -> None:
        film.manifest.check_lengths()
        self._film = film
        self._recall = film.manifest.settings.memory.recall
        self._policy: MemoryPolicy = film.policy
        self._alone = False  # of what the film itself shows nothing is seen: no shot waits for the one before
        self._of_cast: dict[str, list[Keyframe]] = {character.name: [] for character in film.manifest.story.cast}
        self._pictures: dict[str, str] = {}
        owners = [character.name for character in film.manifest.story.cast for _ in character.references]
        references = film.reference_keyframes()
        for number, (keyframe, name) in enumerate(zip(references, owners, strict=True)):
            assert film.manifest.references is not None
            self._pictures[keyframe.id] = film.references.picture(film.manifest.references, number)
            self._of_cast[name].append(keyframe)
        self._awaited = {shot.id for shot in film.manifest.portraits}
        self._start: MemoryBank | None = None
        self._bank: MemoryBank | None = None
        self._begin_if_complete()
        self._last_shot: Shot | None = None
        self._last_frames: FloatArray | None = None
        self.decided_after: str | None = None
        """The latest shot whose missing take keeps the memory of the next from being decided."""
        self.unfit: str | None = None
        """The shot before, if the shot entered last continues it and its take has another size than the film."""

    def enter(self, shot: Shot) -> Sight | None:
        """What this shot sees; None while a shot that it depends on has no take, or one of another size."""
        self.unfit = None
        if shot.portrait_of is not None:
            return self._sight(self._policy.start(self._of_cast[shot.portrait_of]).keyframes)
        if shot.forget:
            self._forget()
        if self._bank is None:
            return None
        if shot.cut or self._last_shot is None:
            known, continues = no_known_frames(), None
        elif self._last_frames is None:
            return None
        else:
            fitting = self._fitting(shot, self._last_frames)
            if fitting is None:
                self.unfit = self.decided_after = self._last_shot.id
                return None
            known, continues = fitting, self._last_shot.id
        keyframes = self._policy.view(self._bank, shot.index)
        if self._recall != "all":
            keyframes = self._recalled(keyframes, shot)
        return self._sight(keyframes, known, continues)

    def _sight(
        self, keyframes: tuple[Keyframe, ...], known: FloatArray | None = None, continues: str | None = None
    ) -> Sight:
        seen = tuple(SeenKeyframe(k.id, _label(k), self._pictures[k.id]) for k in keyframes)
        return Sight(MemoryBank(keyframes), seen, no_known_frames() if known is None else known, continues)

    def _recalled(self, keyframes: tuple[Keyframe, ...], shot: Shot) -> tuple[Keyframe, ...]:
        """What of the bank a shot sees that does not see all of it."""
        manifest = self._film.manifest
        shows: dict[str, list[str]] = {}
        for name, pictures in self._of_cast.items():
            for picture in pictures:
                shows.setdefault(picture.id, []).append(name)
        named = shot.shows
        if named is None:
            told = manifest.characters_of(shot.id)
            named = told if any(self._of_cast[name] for name in told) else None  # if nobody, "she" may be anybody
        scene: frozenset[str] = frozenset()
        if self._recall == "cast+scene":
            scene = frozenset(other.id for other in manifest.story.shots if other.scene == shot.scene)
        return recalled(keyframes, shows=shows, named=named, pinned=self._policy.pinned, scene=scene)

    def _begin_if_complete(self) -> None:
        """The memory that the film begins with, once every portrait is made."""
        if self._awaited:
            return
        self._start = self._bank = self._policy.start([k for own in self._of_cast.values() for k in own])
        if self._recall != "all" and len(self._start):
            # What is asked for by name must not make room for what is new, and nothing else need stay.
            self._policy = replace(self._policy, sink=len(self._start))
            self._alone = self._recall == "cast" and not self._policy.pinned

    def leave(self, shot: Shot, take: Take | None) -> None:
        """Go on with what this take adds to the memory; None: the shot has none yet.

        Raises:
            FilmDamagedError: keyframes or last frames cannot be read; the walk is where it was.
        """
        if shot.portrait_of is not None:
            self._leave_portrait(shot, shot.portrait_of, take)
            return
        if take is not None:
            keyframes = take.keyframes(shot.index)
            count = MOTION_FRAMES if self._film.manifest.settings.continue_with == "mm2v" else 1
            last_frames = take.last_frames(count) if self._is_continued(shot) else None
            self._last_shot, self._last_frames = shot, last_frames
            self._note_pictures(take, keyframes)
            if self._bank is not None:
                self._bank = self._policy.update(self._bank, keyframes)
            return
        self._last_shot, self._last_frames = shot, None
        self.decided_after = shot.id
        if self._policy.capacity and not self._alone:
            self._bank = None

    def _leave_portrait(self, shot: Shot, name: str, take: Take | None) -> None:
        if take is None:
            self.decided_after = shot.id
            return
        keyframes = take.keyframes(shot.index)
        self._note_pictures(take, keyframes)
        self._of_cast[name] += [portraits.as_reference(keyframe, name) for keyframe in keyframes]
        self._awaited.discard(shot.id)
        self._begin_if_complete()

    def _note_pictures(self, take: Take, keyframes: Sequence[Keyframe]) -> None:
        """Where the pictures of a take's keyframes are."""
        for number, keyframe in enumerate(keyframes):
            path = take.folder / preview_name(number)
            self._pictures.setdefault(keyframe.id, path.relative_to(self._film.folder).as_posix())

    def _is_continued(self, shot: Shot) -> bool:
        shots = self._film.manifest.story.shots
        return shot.index + 1 < len(shots) and not shots[shot.index + 1].cut

    def _forget(self) -> None:
        if self._bank is not None:
            self._bank = self._policy.forget(self._bank)
        elif self._start is not None and not self._policy.pinned and len(self._start) <= self._policy.sink:
            # Whatever the shots before are: the references stay in the sink, and nothing else is left.
            self._bank = self._start

    def _fitting(self, shot: Shot, frames: FloatArray) -> FloatArray | None:
        """The last frames of the shot before, as many as this shot begins with; None if they have another size."""
        sampling = self._film.manifest.settings.sampling
        if frames.shape[2:] != (sampling.height, sampling.width):
            return None
        # A shot of one frame has no motion to go on with; a stale take may be longer than its shot is now.
        if len(frames) < MOTION_FRAMES or shot.frames(sampling) <= MOTION_FRAMES:
            return frames[-1:]
        return frames


def _label(keyframe: Keyframe) -> str:
    if keyframe.shot_id is None or keyframe.frame_index is None:
        return keyframe.label
    return keyframe_label(keyframe.shot_id, keyframe.frame_index)
