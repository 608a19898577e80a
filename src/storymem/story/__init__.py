"""Story scripts: what a film is to show, read and checked before anything is made.

A story is scenes of shots; `load_story` reads one from a file, `parse_story` from a text.
"""

from __future__ import annotations

from storymem.story.load import ScriptForm, load_story, parse_story
from storymem.story.model import DEFAULT_FPS, Character, FilmDefaults, Scene, Shot, Story, frames_for

__all__ = [
    "DEFAULT_FPS",
    "Character",
    "FilmDefaults",
    "Scene",
    "ScriptForm",
    "Shot",
    "Story",
    "frames_for",
    "load_story",
    "parse_story",
]
