"""The form of ST-Bench, the benchmark of the StoryMem paper (arXiv 2512.19539): JSON with parallel lists per scene."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field

from storymem.story.check import Cut, Form, Mistakes, Text, validated
from storymem.story.model import Scene, Shot, Story

__all__ = ["StBenchScene", "StBenchStory", "read_stbench"]


class StBenchScene(Form):
    """A scene: lists with one entry per shot."""

    model_config = ConfigDict(title="Scene")

    scene_num: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="The number of the scene, counted from 1.", examples=[1]
    )
    video_prompts: list[Text] = Field(min_length=1, description="One prompt per shot.")
    first_frame_prompt: list[str] | None = Field(
        default=None, description="One description of the first frame per shot; kept, not used by the model."
    )
    cut: list[Cut] = Field(
        min_length=1,
        description="One value per shot: true if the shot begins with a cut, false if it continues the one before.",
        examples=[[True, False, "True", "False"]],
    )


class StBenchStory(Form):
    """A story script in the form of ST-Bench."""

    model_config = ConfigDict(title="StoryMem script, ST-Bench form")

    story_name: Text = Field(description="The title of the film.", examples=["The Last Walk"])
    story_overview: str = Field(description="The story in a few sentences.")
    scenes: list[StBenchScene] = Field(min_length=1, description="The scenes, in order.")


def read_stbench(data: object, base: Path | None, mistakes: Mistakes) -> Story | None:
    """`data`, the contents of an ST-Bench file, as a story; None if anything was noted in `mistakes`."""
    script = validated(StBenchStory, data, mistakes)
    _check_across(data, mistakes)
    if script is None or mistakes.problems:
        return None
    scenes, index = [], 0
    for number, entry in enumerate(script.scenes, 1):
        shots = []
        for position, (prompt, cut) in enumerate(zip(entry.video_prompts, entry.cut, strict=True)):
            first_frame = entry.first_frame_prompt[position].strip() if entry.first_frame_prompt else ""
            shots.append(
                Shot(
                    id=f"{number:02d}-{position + 1:02d}",
                    index=index,
                    scene=number,
                    prompt=prompt.strip(),
                    full_prompt=prompt.strip(),
                    cut=cut,
                    first_frame_prompt=first_frame or None,
                )
            )
            index += 1
        scenes.append(Scene(number, tuple(shots)))
    return Story(script.story_name.strip(), script.story_overview.strip(), tuple(scenes))


def _check_across(data: object, mistakes: Mistakes) -> None:
    """What no single field shows; on the raw data, so that it is found beside other mistakes."""
    scenes = data.get("scenes") if isinstance(data, dict) else None
    for index, scene in enumerate(scenes if isinstance(scenes, list) else []):
        if not isinstance(scene, dict):
            continue
        number = scene.get("scene_num")
        if type(number) is int and number >= 1 and number != index + 1:
            mistakes.add(("scenes", index, "scene_num"), f"found the number {number}; this is scene {index + 1}")
        prompts = scene.get("video_prompts")
        if not isinstance(prompts, list) or not prompts:
            continue
        for name in ("first_frame_prompt", "cut"):
            values = scene.get(name)
            if isinstance(values, list) and values and len(values) != len(prompts):
                lengths = f"has {len(values)}, but video_prompts has {len(prompts)}"
                message = f"{lengths}; write one value for each shot"
                mistakes.add(("scenes", index, name), message)
        cuts = scene.get("cut")
        if index == 0 and isinstance(cuts, list) and cuts and str(cuts[0]).strip().lower() in ("false", "no"):
            message = "found false; the first shot of a film has nothing to continue: write true"
            mistakes.add(("scenes", 0, "cut", 0), message)
