"""Stories of Storyland in the forms of script that `storymem.story` reads."""

from __future__ import annotations

import json
from typing import Any

from storymem.worlds.storyland.captions import describe, told_attributes
from storymem.worlds.storyland.heroes import split_of
from storymem.worlds.storyland.rendering import FPS
from storymem.worlds.storyland.stories import WorldStory
from storymem.worlds.storyland.truth import ground_truth

__all__ = ["stbench_script", "story_script", "story_truth"]


def story_script(story: WorldStory, *, cast: bool = False, portraits: str = "") -> str:
    """The story in our own YAML form, valid for `storymem.story.parse_story`.

    Args:
        story: what to write.
        cast: write the cast with descriptions too, which are woven into every prompt that names a hero; without it
            only the first prompt of each hero tells the looks.
        portraits: the prompt of a portrait of each hero, with ``{name}`` where its name and looks go; empty: none.
    """
    lines = [f"title: {_quoted(story.title)}", f"overview: {_quoted(story.overview)}"]
    if cast or portraits:
        lines += _cast(story, described=cast, portraits=portraits)
    lines.append("scenes:")
    scene = 0
    for shot in story.shots:
        if shot.scene != scene:
            scene = shot.scene
            lines += ["  - shots:"]
        lines.append(f"      - prompt: {_quoted(shot.prompt)}")
        if not shot.cut:
            lines.append("        cut: false")
    return "\n".join(lines) + "\n"


def _cast(story: WorldStory, *, described: bool, portraits: str) -> list[str]:
    lines = ["cast:"]
    for name, hero in zip(story.names, story.heroes, strict=True):
        looks = describe(hero)
        lines.append(f"  {name}:")
        if len(story.heroes) == 1:  # prompts of such stories say so at times
            lines.append("    called: the hero")
        if described:
            lines.append(f"    description: {_quoted(looks)}")
        if portraits:
            who = name if described else f"{name}, {looks},"
            lines.append(f"    portrait: {_quoted(portraits.replace('{name}', who))}")
    return lines


def stbench_script(story: WorldStory) -> str:
    """The story in the form of ST-Bench (JSON)."""
    scenes: dict[int, dict[str, Any]] = {}
    for shot in story.shots:
        scene = scenes.setdefault(shot.scene, {"scene_num": shot.scene, "video_prompts": [], "cut": []})
        scene["video_prompts"].append(shot.prompt)
        scene["cut"].append(shot.cut)
    data = {"story_name": story.title, "story_overview": story.overview, "scenes": list(scenes.values())}
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def story_truth(
    story: WorldStory, num_frames: int = 17, height: int = 64, width: int = 112, *, fps: float = FPS
) -> dict[str, Any]:
    """The truth of every shot, with what its prompt tells of the looks; plain values that JSON can hold.

    Args:
        story: what is filmed.
        num_frames: of each shot.
        height, width: of the pictures, in pixels.
        fps: frames per second, those that the story was drawn by lot with.
    """
    shots = []
    for shot in story.shots:
        truth = ground_truth(shot.spec, num_frames, height, width, fps=fps)
        for hero in truth["heroes"]:
            hero["told"] = list(told_attributes(shot.style))
        shots.append({"prompt": shot.prompt, "style": shot.style, "scene": shot.scene, "cut": shot.cut, **truth})
    heroes = [
        {"name": name, "attributes": hero.attributes(), "split": split_of(hero)}
        for name, hero in zip(story.names, story.heroes, strict=True)
    ]
    return {"title": story.title, "seed": story.seed, "heroes": heroes, "shots": shots}


def _quoted(text: str) -> str:
    """A YAML scalar in double quotes: JSON's strings are such."""
    return json.dumps(text, ensure_ascii=False)
