"""`film.json` as a value: the story, the settings, which takes there are and which of them are the film."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storymem.errors import FilmDamagedError, FilmError, SettingsError
from storymem.film.film_settings import FilmSettings
from storymem.film.maker import MOTION_FRAMES
from storymem.film.override import Override
from storymem.film.picks import Pick, shot_seed
from storymem.film.portraits import no_such_shot, portraits_of, shots_until
from storymem.film.recipe import Recipe
from storymem.film.record import pack_record, unpack_record
from storymem.film.takes import check_shot_id
from storymem.story.model import MAX_NUM_FRAMES, Shot, Story

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["KeptTake", "Manifest", "ToolFacts", "read_manifest", "write_manifest"]

VERSION = 1
_FORMAT = "storymem film"


@dataclass(frozen=True, slots=True)
class ToolFacts:
    """What a film was made with, as far as its takes depend on it.

    Attributes:
        model: the maker's identity.
        encoder: the frame encoder's identity.
        scorer: the quality scorer's identity; None if nothing judges the frames.
        quality_threshold: the score that a keyframe needs; None without a scorer.
        description: the model for people; two films that differ only here do not differ.
    """

    model: str
    encoder: str
    scorer: str | None
    quality_threshold: float | None
    description: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeptTake:
    """A finished take.

    Attributes:
        key: of it.
        seed: that it was made from.
        score: what the critic thought of it, beside others of the same shot; None if it was not asked.
    """

    key: str
    seed: int
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that is known of a film outside its takes.

    Attributes:
        story: as parsed.
        script_name: name of the copy of the script in the folder.
        script_sha256: of its content.
        settings: of the film.
        tools: that it is made with.
        references: key of the set of reference images; None without any.
        chosen: by shot id, the key of the take that is in the film; of shots that left the script, that was.
        kept: by shot id, all finished takes, oldest first.
        overrides: by shot id, likewise.
        picks: by shot id, likewise, which of several takes was chosen.
        pinned: ids of keyframes that always stay in the memory.
        banned: ids of keyframes that never enter it.
    """

    story: Story
    script_name: str
    script_sha256: str
    settings: FilmSettings
    tools: ToolFacts
    references: str | None = None
    chosen: Mapping[str, str] = field(default_factory=dict)
    kept: Mapping[str, tuple[KeptTake, ...]] = field(default_factory=dict)
    overrides: Mapping[str, Override] = field(default_factory=dict)
    picks: Mapping[str, Pick] = field(default_factory=dict)
    pinned: tuple[str, ...] = ()
    banned: tuple[str, ...] = ()

    @property
    def portraits(self) -> tuple[Shot, ...]:
        """The portraits that are made before the film; see `storymem.film.portraits`."""
        return portraits_of(self.story, self.settings)

    @property
    def all_shots(self) -> tuple[Shot, ...]:
        """All that takes are made of, in the order of making: the portraits, then the shots of the film."""
        return self.shots_until(None)

    def shots_until(self, last: str | None) -> tuple[Shot, ...]:
        """`all_shots` up to one; see `storymem.film.portraits.shots_until`."""
        return shots_until(self.story, self.settings, last)

    def shot(self, shot_id: str) -> Shot:
        """The shot or portrait with this id.

        Raises:
            FilmError: the film has none.
        """
        for shot in self.story.shots:  # without looking for portraits, which takes longer
            if shot.id == shot_id:
                return shot
        for portrait in self.portraits:
            if portrait.id == shot_id:
                return portrait
        raise no_such_shot(shot_id, [shot.id for shot in self.all_shots])

    def override(self, shot_id: str) -> Override:
        """What was changed in a shot, which may have left the script; perhaps nothing."""
        return self.overrides.get(shot_id, Override())

    def seed_of(self, shot_id: str) -> int:
        """The seed of the shot's take in the film: a retake's, or the script's, or one that follows from its id."""
        seed = self.override(shot_id).seed
        return self.own_seed(shot_id) if seed is None else seed

    def own_seed(self, shot_id: str) -> int:
        """The seed that the shot has without a retake: the script's, or the one that follows from its id."""
        shot = self.shot(shot_id)
        return shot.seed if shot.seed is not None else shot_seed(self.settings.seed, shot_id, self.pick(shot_id).number)

    def seeds_of(self, shot_id: str) -> tuple[int, ...]:
        """Those of all takes that are to be made of a shot: one, if a retake or the script says which."""
        if self.is_decided(shot_id):
            return (self.seed_of(shot_id),)
        return tuple(shot_seed(self.settings.seed, shot_id, number) for number in range(self.settings.takes))

    def is_decided(self, shot_id: str) -> bool:
        """Whether people have said which seed a shot's take has, or retook it in other words."""
        shot, override = self.shot(shot_id), self.override(shot_id)
        return not (override.seed is shot.seed is None and override.prompt_for(shot.prompt) == shot.prompt)

    def pick(self, shot_id: str) -> Pick:
        """Which of several takes of a shot was chosen; the first of one, if there never were more."""
        return self.picks.get(shot_id, Pick())

    def prompt_of(self, shot_id: str) -> tuple[str, str]:
        """The prompt that the shot's next take has: as written, and with the cast woven in."""
        prompt, full_prompt, _ = self._words_of(shot_id)
        return prompt, full_prompt

    def characters_of(self, shot_id: str) -> tuple[str, ...]:
        """Names of the cast in the prompt that the shot's next take has."""
        return self._words_of(shot_id)[2]

    def _words_of(self, shot_id: str) -> tuple[str, str, tuple[str, ...]]:
        shot = self.shot(shot_id)
        prompt = self.override(shot_id).prompt_for(shot.prompt)
        if prompt == shot.prompt:
            return shot.prompt, shot.full_prompt, shot.characters
        from storymem.story.cast import weave

        return (prompt, *weave(prompt, self.story.cast, describe=shot.describe_cast))

    def check_lengths(self) -> None:
        """Every shot that continues another must be longer than what it is given, and none longer than a shot may be.

        A script's own numbers are looked at when it is read; here the film's frame rate is known too.

        Raises:
            FilmError: one is not, or is.
        """
        before: int | None = None
        for shot in self.story.shots:
            num_frames = shot.frames(self.settings.sampling)
            if num_frames > MAX_NUM_FRAMES:
                raise FilmError(
                    f"Shot {shot.id} has {num_frames} frames at {self.settings.sampling.fps} per second; a shot has at "
                    f"most {MAX_NUM_FRAMES}: make it shorter or lower the frame rate."
                )
            motion = self.settings.continue_with == "mm2v" and before is not None and before >= MOTION_FRAMES
            given = 0 if shot.cut or before is None else MOTION_FRAMES if motion else 1
            if num_frames <= given:
                raise FilmError(
                    f"Shot {shot.id} has {num_frames} frame{'s' * (num_frames > 1)} and continues the shot before, "
                    f"which gives it its first {given}: make it longer or begin it with a cut."
                )
            before = num_frames

    def check_pictures(self) -> None:
        """The memory must have room for the pictures of the cast that are to be made and those that are given.

        Raises:
            SettingsError: it has not.
        """
        made, given, memory = len(self.portraits), len(set(self.story.references)), self.settings.memory
        beside = memory.recall == "cast+scene"
        if memory.capacity and made + given and (made or beside) and made + given + beside > memory.capacity:
            said = [f"{made} portrait{'s' * (made > 1)}"] * bool(made)
            said += [f"{given} reference image{'s' * (given > 1)}"] * bool(given)
            scene = " and, with recall cast+scene, a keyframe of the scene" * beside
            raise SettingsError(
                f"The memory is to hold {' and '.join(said)} of the cast{scene}, and has {memory.capacity} "
                f"place{'s' * (memory.capacity > 1)}: raise its capacity, or leave portraits out (--no-portraits, or "
                "`portrait: false` in the cast)."
            )

    @property
    def num_pictures(self) -> int:
        """How many pictures of its cast the film has: portraits and reference images."""
        return len(self.portraits) + len(set(self.story.references))

    @property
    def most_seen(self) -> int:
        """How many keyframes a shot sees at most."""
        memory, pictures = self.settings.memory, self.num_pictures
        if memory.recall == "all" or not pictures:
            return memory.capacity
        return min(memory.capacity, pictures + len(self.pinned) + (memory.recall == "cast+scene"))

    def settings_json(self) -> dict[str, object]:
        """Every film-wide setting under one flat name, as JSON values."""
        return _flat(self.settings, self.tools)

    def with_take(
        self, shot_id: str, kept: KeptTake, override: Override | None = None, pick: Pick | None = None
    ) -> Manifest:
        """The film with this take chosen, and with what was changed for it."""
        overrides = self.overrides if override is None else {**self.overrides, shot_id: override}
        picks = self.picks if pick is None else {**self.picks, shot_id: pick}
        return replace(
            self.with_kept(shot_id, (kept,)),
            chosen={**self.chosen, shot_id: kept.key},
            overrides={shot: changed for shot, changed in overrides.items() if changed != Override()},
            picks={shot: made for shot, made in picks.items() if made != Pick()},
        )

    def with_kept(self, shot_id: str, takes: Sequence[KeptTake]) -> Manifest:
        """The film knowing of these takes; of those that it knew, what it did not know of them yet."""
        found = {take.key: take for take in self.kept.get(shot_id, ())}
        for take in takes:
            if take.key not in found or take.score is not None:
                found[take.key] = take
        return replace(self, kept={**self.kept, shot_id: tuple(found.values())})

    def differences(self, settings: FilmSettings, tools: ToolFacts) -> list[str]:
        """In words, each film-wide setting that differs from what is asked for now."""
        before, now = _flat(self.settings, self.tools), _flat(settings, tools)
        out = []
        for name in before:
            if before[name] != now[name]:
                named = name in ("model", "encoder", "scorer")
                out.append(f"another {name}" if named else f"{name} {before[name]!r} (asked for: {now[name]!r})")
        return out

    def is_another(self, story: Story) -> bool:
        """Whether a story is that of another film, and no new version of this one's."""
        prompts = {shot.prompt for shot in self.story.shots}
        return self.story.title != story.title and not any(shot.prompt in prompts for shot in story.shots)

    def adopt(self, asked: Manifest, *, references: str | None, comes_back: Callable[[Shot], bool]) -> Manifest:
        """The film with a new version of its script and settings. Takes stay; which are stale is the plan's business.

        A prompt or seed that was changed in the script after a retake is stronger than the retake's; if the prompt is
        put back, so is the retake's. `comes_back` says of a shot that was not in the last version, but of whose id
        there is a chosen take, whether it is the one that had the id when it left the script; if not, only the takes
        are kept.
        """
        before = {shot.id: shot for shot in self.all_shots}
        overrides = {
            shot_id: override.of(before[shot_id].prompt) if shot_id in before else override
            for shot_id, override in self.overrides.items()
        }
        chosen, picks = dict(self.chosen), dict(self.picks)
        for new in asked.all_shots:
            old, override = before.get(new.id), overrides.get(new.id)
            # The id of a portrait may have become another's, or that of a shot.
            if not (old.portrait_of == new.portrait_of if old else new.id in chosen and comes_back(new)):
                chosen.pop(new.id, None)
                overrides.pop(new.id, None)
                picks.pop(new.id, None)
            elif old is not None and override is not None:
                if old.seed != new.seed:
                    override = replace(override, seed=None)
                if override.prompt == new.prompt:  # the script has taken it over, and decides from here on
                    override = replace(override, prompt=None, over=None)
                overrides[new.id] = override
        return replace(
            self,
            story=asked.story,
            settings=asked.settings,
            tools=asked.tools,
            references=references,
            chosen=chosen,
            overrides=overrides,
            picks=picks,
        )


def _flat(settings: FilmSettings, tools: ToolFacts) -> dict[str, object]:
    sampling = Recipe.sampling_of(settings.sampling, whole=True)
    memory = {f"memory {entry.name}": getattr(settings.memory, entry.name) for entry in fields(settings.memory)}
    # Encoder and scorer are compared by what they are, not by the name they were asked for by.
    for name in ("memory encoder", "memory scorer", "memory quality_threshold"):
        del memory[name]
    return {
        **sampling,
        **memory,
        "memory quality_threshold": tools.quality_threshold,
        "seed": settings.seed,
        "continue_with": settings.continue_with,
        "negative_prompt": settings.negative_prompt,
        "portraits": settings.portraits,
        "takes": settings.takes,
        "critic": settings.critic,
        "model": tools.model,
        "encoder": tools.encoder,
        "scorer": tools.scorer,
    }


def write_manifest(manifest: Manifest) -> bytes:
    """The content of `film.json`; the same manifest always gives the same bytes."""
    plain = _adapter().dump_python(manifest, mode="json")
    for name in ("chosen", "kept", "overrides", "picks"):  # in the order of their names, not of what was done when
        plain[name] = dict(sorted(plain[name].items()))
    return pack_record({"format": _FORMAT, "version": VERSION, **plain})


def read_manifest(data: bytes, path: Path) -> Manifest:
    """The manifest in the content of `film.json`.

    Args:
        data: the content.
        path: for messages.

    Raises:
        FilmError: a newer storymem wrote it.
        FilmDamagedError: it is not what was written.
    """
    from pydantic import ValidationError

    try:
        plain = unpack_record(data)
        if plain.pop("format", None) != _FORMAT:
            raise ValueError("it is not a film's")
        version = plain.pop("version", None)
        if isinstance(version, int) and version > VERSION:
            raise FilmError(
                f"{path}: this film was made by a newer storymem (format {version}, this one knows {VERSION}): "
                "update with `pip install -U storymem`."
            )
        if version != VERSION:
            raise ValueError(f"format version {version!r} does not exist")
        manifest = _adapter().validate_python(plain)
        _check_names(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise _damaged(path, f"{place}: {first['msg']}") from error
    except (ValueError, SettingsError) as error:
        raise _damaged(path, str(error)) from error
    return manifest


def _damaged(path: Path, what: str) -> FilmDamagedError:
    return FilmDamagedError(
        f"{path}: damaged: {what.rstrip('.')}. The takes are not touched: move this file away and run the same "
        "`generate` command again; finished takes are found again, retakes must be chosen again with their keys."
    )


def _check_names(manifest: Manifest) -> None:
    """Ids become names of folders; a file that was edited by hand must not lead out of the film's folder."""
    ids: Sequence[str] = [
        *(shot.id for shot in manifest.all_shots),
        *manifest.chosen,
        *manifest.kept,
        *manifest.overrides,
    ]
    for shot_id in ids:
        check_shot_id(shot_id)
    if Path(manifest.script_name).name != manifest.script_name or not manifest.script_name.startswith("script."):
        raise FilmError(f"{manifest.script_name!r} cannot be the name of a film's script.")


@cache
def _adapter() -> TypeAdapter[Manifest]:
    from pydantic import TypeAdapter

    return TypeAdapter(Manifest)
