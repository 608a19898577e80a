"""Storyland, a cartoon world: endless clips, groups of clips and stories, with captions and ground truth.

Everything follows from seeds. Nothing here imports PyTorch until `render` is called.
"""

from __future__ import annotations

from storymem.worlds.storyland.captions import (
    CaptionStyle,
    caption,
    describe,
    strange_words,
    told_attributes,
    vocabulary,
)
from storymem.worlds.storyland.heroes import ATTRIBUTES, Hero, Split, count_heroes, sample_hero, split_of
from storymem.worlds.storyland.places import PLACES, TIMES, WEATHERS, Place
from storymem.worlds.storyland.rendering import FPS, render
from storymem.worlds.storyland.scripts import stbench_script, story_script, story_truth
from storymem.worlds.storyland.shots import ACTIONS, CAMERAS, SHOT_TYPES, Actor, ShotSpec, sample_shot
from storymem.worlds.storyland.stories import (
    Clip,
    Group,
    StoryShot,
    WorldStory,
    sample_group,
    sample_story,
)
from storymem.worlds.storyland.truth import ground_truth

__all__ = [
    "ACTIONS",
    "ATTRIBUTES",
    "CAMERAS",
    "FPS",
    "PLACES",
    "SHOT_TYPES",
    "TIMES",
    "WEATHERS",
    "Actor",
    "CaptionStyle",
    "Clip",
    "Group",
    "Hero",
    "Place",
    "ShotSpec",
    "Split",
    "StoryShot",
    "WorldStory",
    "caption",
    "count_heroes",
    "describe",
    "ground_truth",
    "render",
    "sample_group",
    "sample_hero",
    "sample_shot",
    "sample_story",
    "split_of",
    "stbench_script",
    "story_script",
    "story_truth",
    "strange_words",
    "told_attributes",
    "vocabulary",
]
