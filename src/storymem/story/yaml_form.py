"""Our own form, made to be written by hand: a YAML file with a cast, scenes and shots."""

from __future__ import annotations

from pathlib import Path

from storymem.story.across import check_across
from storymem.story.cast import normalise, weave
from storymem.story.check import Mistakes, validated
from storymem.story.entries import DefaultsEntry, FilmScript, SceneEntry, ShotEntry
from storymem.story.model import Character, FilmDefaults, Scene, Shot, Story
from storymem.story.nodes import Key

__all__ = ["read_film"]


def read_film(data: object, base: Path | None, mistakes: Mistakes, *, pictures_kept: bool = False) -> Story | None:
    """`data`, the contents of a YAML script, as a story; None if anything was noted in `mistakes`.

    Args:
        data: mappings, lists and scalars.
        base: the folder that reference images are looked for in.
        mistakes: takes what is wrong.
        pictures_kept: reference images need not be there.
    """
    script = validated(FilmScript, data, mistakes)
    references = check_across(data, base, mistakes, pictures_kept=pictures_kept)
    if script is None or mistakes.problems:
        return None
    return _Builder(script, references).story()


class _Builder:
    """Turns a checked script into the values of `model`."""

    def __init__(self, script: FilmScript, references: dict[tuple[Key, ...], Path]) -> None:
        self.script = script
        self.defaults = script.defaults or DefaultsEntry()
        self.cast = tuple(
            Character(
                normalise(name),
                " ".join((entry.description or "").split()),
                tuple(references["cast", name, index] for index in range(len(entry.references or ()))),
                entry.portrait.strip() if isinstance(entry.portrait, str) else entry.portrait,
                tuple(" ".join(normalise(other).split()) for other in entry.called or ()),
            )
            for name, entry in (script.cast or {}).items()
        )
        self.index = 0

    def story(self) -> Story:
        script = self.script
        entries = script.scenes or [SceneEntry(shots=script.shots or [])]
        scenes = tuple(self.scene(number, entry) for number, entry in enumerate(entries, 1))
        return Story(script.title.strip(), (script.overview or "").strip(), scenes, self.cast, self.film_defaults())

    def film_defaults(self) -> FilmDefaults:
        said = self.defaults.model_dump(exclude={"memory"}, exclude_none=True)
        if self.defaults.memory is not None:
            said |= self.defaults.memory.model_dump(exclude_none=True)
        return FilmDefaults(**said)

    def scene(self, number: int, entry: SceneEntry) -> Scene:
        shots = tuple(self.shot(number, position, shot) for position, shot in enumerate(entry.shots, 1))
        return Scene(number, shots, entry.title.strip() if entry.title else None)

    def shot(self, scene: int, position: int, entry: ShotEntry) -> Shot:
        prompt = entry.prompt.strip()
        full_prompt, characters = weave(prompt, self.cast, describe=entry.describe_cast)
        first_frame = entry.first_frame_prompt
        self.index += 1
        return Shot(
            id=entry.id or f"{scene:02d}-{position:02d}",
            index=self.index - 1,
            scene=scene,
            prompt=prompt,
            full_prompt=full_prompt,
            cut=entry.cut,
            seed=entry.seed,
            num_frames=entry.num_frames,
            negative_prompt=None if entry.negative_prompt is None else entry.negative_prompt.strip(),
            forget=entry.forget,
            first_frame_prompt=None if first_frame is None else first_frame.strip(),
            characters=characters,
            duration=entry.duration,
            describe_cast=entry.describe_cast,
            shows=None if entry.shows is None else tuple(dict.fromkeys(map(normalise, entry.shows))),
        )
