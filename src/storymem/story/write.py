"""Writing a story as a script in our own form: the way from ST-Bench to YAML, and to new scripts made by programs."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from storymem.settings import MemoryConfig
from storymem.story.model import Character, FilmDefaults, Scene, Shot, Story

__all__ = ["dump_story"]


def dump_story(story: Story, folder: Path | None = None) -> str:
    """`story` as the text of a YAML script; read again, it is the same story.

    Args:
        story: what to write.
        folder: where the script will lie; reference images are written as paths from it.
    """
    from ruamel.yaml import YAML

    script: dict[str, Any] = {"title": story.title}
    if story.overview:
        script["overview"] = story.overview
    if story.cast:
        script["cast"] = {character.name: _character(character, folder) for character in story.cast}
    defaults = _defaults(story.defaults)
    if defaults:
        script["defaults"] = defaults
    script["scenes"] = [_scene(scene) for scene in story.scenes]

    yaml = YAML()
    yaml.Emitter = _emitter()
    yaml.width = 100
    yaml.allow_unicode = True
    yaml.indent(mapping=2, sequence=4, offset=2)
    out = io.StringIO()
    yaml.dump(script, out)
    return out.getvalue()


def _emitter() -> type[Any]:
    """ruamel.yaml's emitter, but that it breaks lines only in texts that come back as they were.

    A line break stands for one blank. ruamel.yaml also breaks lines behind two, as some people type them after a full
    stop, and blanks at the end of a line are gone when it is read; and a text in double quotes it breaks inside words
    at times, which puts a blank there. Such texts stay on one line, however long.
    """
    from ruamel.yaml.emitter import RoundTripEmitter

    class Emitter(RoundTripEmitter):  # type: ignore[misc, unused-ignore]
        def process_scalar(self) -> None:
            if self.analysis is None:
                self.analysis = self.analyze_scalar(self.event.value)
            if self.style is None:
                self.style = self.choose_scalar_style()
            width, text = self.best_width, self.analysis.scalar
            if self.style == '"' or text != " ".join(text.split()):
                self.best_width = max(width, 16 * len(text) + 1000)  # no escape is longer
            super().process_scalar()
            self.best_width = width

    return Emitter


def _character(character: Character, folder: Path | None) -> object:
    if not character.references and not character.called and character.portrait is None:
        return character.description or {}
    fields: dict[str, object] = {"description": character.description} if character.description else {}
    if character.references:
        start = os.path.realpath(folder or Path())
        fields["references"] = [Path(os.path.relpath(path, start)).as_posix() for path in character.references]
    if character.portrait is not None:
        fields["portrait"] = character.portrait
    if character.called:
        fields["called"] = list(character.called)
    return fields


def _defaults(defaults: FilmDefaults) -> dict[str, object]:
    said = {name: value for name in FilmDefaults.__dataclass_fields__ if (value := getattr(defaults, name)) is not None}
    memory = {name: said.pop(name) for name in MemoryConfig.__dataclass_fields__ if name in said}
    return said | ({"memory": memory} if memory else {})


def _scene(scene: Scene) -> dict[str, object]:
    shots = [_shot(shot, f"{scene.number:02d}-{position:02d}") for position, shot in enumerate(scene.shots, 1)]
    return ({"title": scene.title} if scene.title else {}) | {"shots": shots}


def _shot(shot: Shot, usual_id: str) -> object:
    fields: dict[str, object] = {"prompt": shot.prompt}
    if not shot.cut:
        fields["cut"] = False
    if shot.id != usual_id:
        fields["id"] = shot.id
    for name in ("seed", "num_frames", "duration", "negative_prompt", "first_frame_prompt"):
        value = getattr(shot, name)
        if value is not None:
            fields[name] = value
    if shot.forget:
        fields["forget"] = True
    if shot.shows is not None:
        fields["shows"] = list(shot.shows)
    if not shot.describe_cast:
        fields["describe_cast"] = False
    return shot.prompt if len(fields) == 1 else fields
