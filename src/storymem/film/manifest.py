"""`film.json` as a value: the story, the settings, which takes there are and which of them are the film."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from storymem.errors import FilmDamagedError, FilmError, SettingsError
from storymem.film.maker import MOTION_FRAMES
from storymem.film.recipe import Recipe
from storymem.film.record import pack_record, unpack_record
from storymem.film.takes import check_shot_id
from storymem.settings import MemoryConfig, SamplingConfig, check_seed
from storymem.story.model import DEFAULT_FPS, MAX_NUM_FRAMES, Shot, Story

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = [
    "FilmSettings",
    "KeptTake",
    "Manifest",
    "Override",
    "ToolFacts",
    "read_manifest",
    "shot_seed",
    "write_manifest",
]

VERSION = 1
_FORMAT = "storymem film"
_SEED_BITS = 53  # every program that reads JSON can hold such a number exactly


def shot_seed(film_seed: int, shot_id: str, retake: int = 0) -> int:
    """The seed of a shot that the script gives none: 53 bits of SHA-256, so no two shots share one.

    It depends on nothing but the film's seed, the shot's id and how often it was retaken with a new seed: other shots
    may come and go.

    Args:
        film_seed: the film's own.
        shot_id: the shot.
        retake: 0 for the first take.
    """
    text = f"storymem seed\n{film_seed}\n{shot_id}\n{retake}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> (64 - _SEED_BITS)


@dataclass(frozen=True, slots=True)
class FilmSettings:
    """What is set once for a whole film.

    Attributes:
        sampling: how shots are sampled; a shot's own length takes the place of `num_frames`.
        memory: how keyframes are chosen and kept.
        seed: where the seeds of the shots come from.
        continue_with: a shot without a cut begins with the last frame of the one before (``mi2v``) or its last five
            (``mm2v``).
        negative_prompt: of every shot without its own.
    """

    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    seed: int = 0
    continue_with: Literal["mi2v", "mm2v"] = "mi2v"
    negative_prompt: str = ""

    def __post_init__(self) -> None:
        if self.continue_with not in ("mi2v", "mm2v"):
            raise SettingsError(f"continue_with is {self.continue_with!r}; it must be mi2v or mm2v.")
        check_seed(self.seed)

    @classmethod
    def for_story(
        cls,
        story: Story,
        *,
        sampling: Mapping[str, Any] | None = None,
        memory: Mapping[str, Any] | None = None,
        seed: int | None = None,
        continue_with: Literal["mi2v", "mm2v"] = "mi2v",
        negative_prompt: str | None = None,
    ) -> FilmSettings:
        """The settings of a story's film: our defaults, over them what the script says, over that what is given here.

        Args:
            story: the story.
            sampling: fields of `SamplingConfig`; None as a value means not given.
            memory: fields of `MemoryConfig`, likewise.
            seed: the film's seed.
            continue_with: see the class.
            negative_prompt: of every shot without its own.

        Raises:
            SettingsError: a value is outside its range.
        """
        said = story.defaults
        chosen = {**said.sampling(), **_given(sampling)}
        if said.duration is not None and "num_frames" not in chosen:
            chosen["num_frames"] = said.frames(chosen.get("fps", DEFAULT_FPS))
        return cls(
            sampling=replace(SamplingConfig(), **chosen),
            memory=replace(MemoryConfig(), **{**said.memory(), **_given(memory)}),
            seed=next((value for value in (seed, said.seed) if value is not None), 0),
            continue_with=continue_with,
            negative_prompt=next((v for v in (negative_prompt, said.negative_prompt) if v is not None), ""),
        )


def _given(values: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (values or {}).items() if value is not None}


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
class Override:
    """What was changed in a shot by retaking it or choosing another take; stronger than the script.

    Attributes:
        seed: in place of the shot's.
        prompt: in place of the shot's, as written.
        retakes: how many seeds were drawn for retakes.
    """

    seed: int | None = None
    prompt: str | None = None
    retakes: int = 0


@dataclass(frozen=True, slots=True)
class KeptTake:
    """A finished take: its key and the seed that it was made from."""

    key: str
    seed: int


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
        chosen: by shot id, the key of the take that is in the film.
        kept: by shot id, all finished takes, oldest first.
        overrides: by shot id.
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
    pinned: tuple[str, ...] = ()
    banned: tuple[str, ...] = ()

    def shot(self, shot_id: str) -> Shot:
        """The shot with this id.

        Raises:
            FilmError: the film has none.
        """
        for shot in self.story.shots:
            if shot.id == shot_id:
                return shot
        known = [shot.id for shot in self.story.shots]
        some = ", ".join(known if len(known) <= 8 else [*known[:4], "...", *known[-2:]])
        raise FilmError(f"The film has no shot {shot_id!r}; its shots are {some}.")

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

    def settings_json(self) -> dict[str, object]:
        """Every film-wide setting under one flat name, as JSON values."""
        return _flat(self.settings, self.tools)

    def with_take(self, shot_id: str, kept: KeptTake, override: Override | None = None) -> Manifest:
        """The film with this take chosen, and with what was changed for it."""
        takes = self.kept.get(shot_id, ())
        if all(take.key != kept.key for take in takes):
            takes = (*takes, kept)
        overrides = self.overrides if override is None else {**self.overrides, shot_id: override}
        return replace(
            self,
            chosen={**self.chosen, shot_id: kept.key},
            kept={**self.kept, shot_id: takes},
            overrides={shot: changed for shot, changed in overrides.items() if changed != Override()},
        )

    def differences(self, settings: FilmSettings, tools: ToolFacts) -> list[str]:
        """In words, each film-wide setting that differs from what is asked for now."""
        before, now = _flat(self.settings, self.tools), _flat(settings, tools)
        out = []
        for name in before:
            if before[name] != now[name]:
                if name in ("model", "encoder", "scorer"):
                    out.append(f"another {name}")
                else:
                    out.append(f"{name} {before[name]!r} (asked for: {now[name]!r})")
        return out

    def is_another(self, story: Story) -> bool:
        """Whether a story is that of another film, and no new version of this one's."""
        prompts = {shot.prompt for shot in self.story.shots}
        return self.story.title != story.title and not any(shot.prompt in prompts for shot in story.shots)

    def adopt(self, story: Story, *, settings: FilmSettings, tools: ToolFacts, references: str | None) -> Manifest:
        """The film with a new version of its script and settings. Takes stay; which are stale is the plan's business.

        A prompt or seed that was changed in the script after a retake is stronger than the retake's; of a shot that is
        not in the script any more only the takes are kept, for its id may come back as another shot.
        """
        before = {shot.id: shot for shot in self.story.shots}
        ids = {shot.id for shot in story.shots}
        overrides = {shot_id: override for shot_id, override in self.overrides.items() if shot_id in ids}
        chosen = {shot_id: key for shot_id, key in self.chosen.items() if shot_id in ids}
        for new in story.shots:
            old, override = before.get(new.id), overrides.get(new.id)
            if old is not None and override is not None:
                overrides[new.id] = replace(
                    override,
                    prompt=override.prompt if old.prompt == new.prompt else None,
                    seed=override.seed if old.seed == new.seed else None,
                )
        return replace(
            self,
            story=story,
            settings=settings,
            tools=tools,
            references=references,
            chosen=chosen,
            overrides=overrides,
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
        "model": tools.model,
        "encoder": tools.encoder,
        "scorer": tools.scorer,
    }


def write_manifest(manifest: Manifest) -> bytes:
    """The content of `film.json`; the same manifest always gives the same bytes."""
    plain = _adapter().dump_python(manifest, mode="json")
    for name in ("chosen", "kept", "overrides"):  # in the order of their names, not of what was done when
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
        *(shot.id for shot in manifest.story.shots),
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
