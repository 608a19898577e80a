"""Storyland's judge: an attribute reader says which looks and deeds of the heroes in a clip are not as they should be.

What is learned from a reader is learned for that reader: measure what came of it with another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch.nn import functional

from storymem.errors import SettingsError
from storymem.training.encode import weights_digest
from storymem.training.judging import Judgement
from storymem.worlds.storyland.reader import FloatArray, find_heads, follow_heads, load_reader
from storymem.worlds.storyland.reader_network import frame_indices, steady, to_reading_size
from storymem.worlds.storyland.truth import LABEL_CLASSES

__all__ = ["StorylandJudge", "StorylandJudgeOptions"]

_SPECIES = tuple(LABEL_CLASSES).index("species")


class StorylandJudgeOptions(BaseModel):
    """What `reward.options` can say of storyland.

    Attributes:
        reader: the weights of an attribute reader, as `tools/train_storyland_reader.py` writes them; null: the
            package's, by which films are then no longer to be measured.
        temperature: the reader's logits are divided by it, so that a clip that is plainly wrong still counts, and one
            that is right does not for long.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reader: Path | None = None
    temperature: float = Field(default=1.5, gt=0, allow_inf_nan=False)


class StorylandJudge:
    """A `storymem.training.judging.Judge`: cross entropy of what is read of heroes, the mean over what is asked for.

    Only heroes whose species is asked for are judged, which is where a head can be seen. Clips in which another number
    of heroes is found are not judged. Of two, the one who looks more like a species is taken to be meant, as when
    films are measured.

    Args:
        options: see `StorylandJudgeOptions`.

    Raises:
        SettingsError: an option is unknown or out of range.
        CheckpointError: the weights are no reader's.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        try:
            self.options = StorylandJudgeOptions.model_validate(dict(options))
        except ValidationError as error:
            problem = error.errors()[0]
            name = ".".join(str(part) for part in problem["loc"])
            known = ", ".join(StorylandJudgeOptions.model_fields)
            raise SettingsError(f"reward.options.{name}: {problem['msg']} (storyland knows {known}).") from None
        self._network = load_reader(self.options.reader).network.eval().requires_grad_(False)

    @property
    def identity(self) -> str:
        """See `Judge.identity`."""
        return f"storyland/{weights_digest(self._network)}/{self.options.temperature:g}"

    def to(self, device: torch.device) -> StorylandJudge:
        """See `Judge.to`."""
        self._network.to(device)
        return self

    def __call__(self, frames: torch.Tensor, labels: torch.Tensor) -> Judgement:
        """See `Judge.__call__`; labels are those of `LABEL_CLASSES`."""
        loss = frames.new_zeros(len(frames))
        right = frames.new_full((len(frames),), torch.nan)
        chosen = frames[:, :, frame_indices(frames.shape[2])].transpose(1, 2)
        pictures = to_reading_size(chosen.flatten(0, 1))
        pictures = pictures.reshape(*chosen.shape[:3], *pictures.shape[2:])  # [B, frames, 3, h, w]
        with torch.no_grad():
            maps = self._network.look(pictures.flatten(0, 1))[0]
        finds = maps.reshape(*pictures.shape[:2], *maps.shape[1:]).cpu().numpy()
        rows, tracks = [], []  # of the heroes who are judged
        for row, (asked, one) in enumerate(zip(labels[:, :, _SPECIES] >= 0, finds, strict=True)):
            found = follow_heads([find_heads(frame) for frame in one])
            if found and len(found) == int(asked.sum()):
                rows += [row] * len(found)
                tracks += found
        if not rows:
            return Judgement(loss + 0 * frames.flatten(1).sum(dim=1), right)
        owners = torch.tensor(rows, device=frames.device)
        read = self._read(pictures[owners], tracks)
        wanted = torch.stack(_who_is_who(rows, labels, read["species"].detach()))  # [K, L]
        judged, correct = frames.new_zeros(len(rows)), frames.new_zeros(len(rows))
        for name, asked in zip(LABEL_CLASSES, wanted.unbind(1), strict=True):
            said = read[name]
            judged = judged + functional.cross_entropy(
                said / self.options.temperature, asked, ignore_index=-1, reduction="none"
            )
            correct = correct + (said.argmax(dim=1) == asked)
        known = (wanted >= 0).sum(dim=1)
        heroes = loss.index_add(0, owners, torch.ones_like(judged)).clamp(min=1)
        loss = loss.index_add(0, owners, judged / known) / heroes
        sums = [frames.new_zeros(len(frames)).index_add(0, owners, part) for part in (correct, known.to(correct))]
        return Judgement(loss, (sums[0] / sums[1]).detach())

    def _read(self, pictures: torch.Tensor, tracks: Sequence[Sequence[FloatArray | None]]) -> dict[str, torch.Tensor]:
        """What is read of each of K heroes in ``[K, frames, 3, h, w]``: log-probabilities ``[K, classes]``."""
        there = pictures.new_tensor([[float(box is not None) for box in track] for track in tracks])
        first = [next(box for box in track if box is not None) for track in tracks]
        boxes = torch.stack(
            [
                torch.stack([torch.from_numpy(one if box is None else box) for box in track])
                for track, one in zip(tracks, first, strict=True)
            ]
        ).to(pictures)
        boxes = steady(boxes, there)
        seen = self._network.see(pictures.flatten(0, 1), boxes.flatten(0, 1)).reshape(*pictures.shape[:2], -1)
        action = self._network.read_action(seen, boxes, there).log_softmax(-1)
        return {**self._network.read_looks(seen, there), "action": action}


def _who_is_who(rows: Sequence[int], labels: torch.Tensor, species: torch.Tensor) -> list[torch.Tensor]:
    """The labels ``[L]`` that each hero who was found should have.

    Args:
        rows: the clip of each; two of one clip follow one another.
        labels: ``[B, N, L]``.
        species: ``[K, classes]`` log-probabilities.
    """
    out: list[torch.Tensor] = []
    while len(out) < len(rows):
        here = len(out)
        asked = [one for one in labels[rows[here]] if one[_SPECIES] >= 0]
        if len(asked) == 2:
            (a, b), (left, right) = [int(one[_SPECIES]) for one in asked], species[here : here + 2]
            if left[b] + right[a] > left[a] + right[b]:
                asked.reverse()
        out += asked
    return out
