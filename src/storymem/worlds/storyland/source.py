"""Storyland as a source of training clips: every group of the world has a number, and is drawn when it is asked for."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from storymem.worlds.storyland.captions import caption_clauses
from storymem.worlds.storyland.options import read_options
from storymem.worlds.storyland.rendering import DRAWINGS, render
from storymem.worlds.storyland.shots import ACTIONS
from storymem.worlds.storyland.stories import Clip as DrawnClip
from storymem.worlds.storyland.stories import Group, sample_group
from storymem.worlds.storyland.truth import LABEL_CLASSES, hero_subjects, scene_labels

if TYPE_CHECKING:
    from storymem.training.clips import Caption, Clip

__all__ = ["StorylandOptions", "StorylandSource"]


_REMEMBERED = 2**16  # groups; more than any pool holds


class StorylandOptions(BaseModel):
    """What `data.options` can say of storyland.

    Attributes:
        split: heroes and layouts to draw from.
        groups: how many there are; drawn when needed, so the number costs nothing.
        clips: in a group.
        two_heroes: share of groups with two heroes.
        told: share of captions that tell the looks, which the others leave to memory.
        together: in groups of two heroes, share of clips that show both; after one of each alone and one of both.
            null: about a third do.
        portraits: share of groups in which the first clip of each hero alone is a portrait, which the other clips
            remember it by, as in films that begin with portraits. null: none.
        actions: how often heroes are shown doing each, such as ``{jump: 3}``; those not named count 1. null: all alike.
        phrasings: captions per clip, which say the same in other words.
        device: where pictures are drawn, in torch's words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    split: Literal["train", "test"] = "train"
    groups: int = Field(default=1_000_000_000, ge=1)
    clips: int = Field(default=8, ge=2)
    two_heroes: float = Field(default=0.4, ge=0, le=1)
    told: float = Field(default=0.4, ge=0, le=1)
    together: float | None = Field(default=None, ge=0, le=1)
    portraits: float | None = Field(default=None, ge=0, le=1)
    actions: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] | None = None
    phrasings: int = Field(default=2, ge=1)
    device: str = "cpu"

    @field_validator("actions")
    @classmethod
    def _known(cls, actions: dict[str, float] | None) -> dict[str, float] | None:
        for name in actions or ():
            if name not in ACTIONS:
                raise ValueError(f"nobody can {name!r}; actions are {', '.join(ACTIONS)}")
        return None if actions is None else dict(sorted(actions.items()))  # the order says nothing


class StorylandSource:
    """A `storymem.training.clips.ClipSource`.

    Args:
        width: pixels, a multiple of 16.
        height: pixels, a multiple of 16.
        num_frames: of a clip.
        options: see `StorylandOptions`.

    Raises:
        SettingsError: an option is unknown or out of range.
    """

    def __init__(self, width: int, height: int, num_frames: int, options: Mapping[str, Any]) -> None:
        self.width, self.height, self.num_frames = width, height, num_frames
        self.options = read_options(StorylandOptions, options, "data.options")
        # Asked for with every sample, while groups are drawn once: who is in which clip is remembered.
        self._subjects: OrderedDict[int, tuple[tuple[tuple[int, ...], ...], ...]] = OrderedDict()

    @property
    def identity(self) -> str:
        """See `ClipSource.identity`."""
        options = self.options.model_dump_json(exclude_none=True)
        return f"storyland/{DRAWINGS}/{options}/{self.width}x{self.height}x{self.num_frames}"

    @property
    def classes(self) -> tuple[int, ...]:
        """See `ClipSource.classes`: of `LABEL_CLASSES`."""
        return tuple(map(len, LABEL_CLASSES.values()))

    def __len__(self) -> int:
        return self.options.groups

    def size(self, index: int) -> int:
        """See `ClipSource.size`."""
        return self.options.clips

    def subjects(self, index: int, clip: int) -> Sequence[Sequence[int]]:
        """See `ClipSource.subjects`: the heroes."""
        if index not in self._subjects:
            group = self._group(index)
            self._subjects[index] = tuple(group.subjects(number) for number in range(len(group.clips)))
            while len(self._subjects) > _REMEMBERED:
                self._subjects.popitem(last=False)
        return self._subjects[index][clip]

    def setting(self, index: int, clip: int) -> tuple[int, ...]:
        """See `ClipSource.setting`: of `SCENE_CLASSES`."""
        return scene_labels(self._group(index).clips[clip].spec)

    def group(self, index: int) -> Sequence[Clip]:
        """See `ClipSource.group`."""
        import torch

        from storymem.training.clips import Clip
        from storymem.training.subjects import Subjects

        clips = self._group(index).clips
        pixels = render(
            [clip.spec for clip in clips], self.num_frames, self.height, self.width, device=self.options.device
        )
        return [
            Clip(
                frames,
                tuple(_caption(clip, seed) for seed in (None, *range(1, self.options.phrasings))),
                Subjects(*map(torch.from_numpy, hero_subjects(clip.spec, self.num_frames, self.height, self.width))),
            )
            for frames, clip in zip(pixels, clips, strict=True)
        ]

    def captions(self, count: int) -> Sequence[str]:
        """See `ClipSource.captions`."""
        groups = -(-count // self.options.clips)
        clips = [clip for index in range(groups) for clip in self._group(index).clips]
        return [_caption(clip) for clip in clips[:count]]

    def _group(self, index: int) -> Group:
        options = self.options
        return sample_group(
            index,
            options.split,
            clips=options.clips,
            two_heroes=options.two_heroes,
            told=options.told,
            together=options.together,
            portraits=options.portraits or 0.0,
            actions=options.actions,
        )


def _caption(clip: DrawnClip, seed: int | None = None) -> Caption:
    """One of the phrasings, which knows whose clause is where."""
    from storymem.training.clips import Caption

    return Caption(*caption_clauses(clip.spec, clip.style, seed=seed))
