"""Storyland's judge: an attribute reader says which looks and deeds of the heroes in a clip are not as they should be.

What is learned from a reader is learned for that reader. So the package has two, trained from other first weights on
other drawings: films are measured with the one, and the other one judges.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, field_validator
from torch.nn import functional

from storymem.training.encode import weights_digest
from storymem.training.judging import Judgement
from storymem.worlds.storyland.headcount import boxes_of_cells, miscounted
from storymem.worlds.storyland.heroes import ATTRIBUTES
from storymem.worlds.storyland.options import read_options
from storymem.worlds.storyland.reader import FloatArray, boxes_of, find_heads, follow_heads, load_reader
from storymem.worlds.storyland.reader_network import frame_indices, steady, to_reading_size
from storymem.worlds.storyland.truth import LABEL_CLASSES, SCENE_CLASSES

__all__ = ["StorylandJudge", "StorylandJudgeOptions"]

_SPECIES = tuple(LABEL_CLASSES).index("species")


class StorylandJudgeOptions(BaseModel):
    """What `reward.options` can say of storyland.

    Attributes:
        reader: the weights of an attribute reader, as `tools/train_storyland_reader.py` writes them; null: the
            package's second one, which measures nothing.
        action: how much what a hero does counts beside each of the looks.
        looks: how much each of them counts, by name, such as ``{accessory: 2}``; those not named count 1.
        scene: how much place, time, weather and shot type count beside the heroes, who count 1; 0: not at all.
        heads: how much it counts that as many heads are found as there should be heroes; 0: not at all.
        temperature: the reader's logits are divided by it, so that a clip that is plainly wrong still counts, and one
            that is right does not for long.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reader: Path | None = None
    action: float = Field(default=2.0, ge=0, allow_inf_nan=False)
    looks: dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    scene: float = Field(default=0.5, ge=0, allow_inf_nan=False)
    heads: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    temperature: float = Field(default=1.5, gt=0, allow_inf_nan=False)

    @field_validator("looks")
    @classmethod
    def _known(cls, looks: dict[str, float]) -> dict[str, float]:
        for name in looks:
            if name not in ATTRIBUTES:
                raise ValueError(f"nobody has {name!r}; looks are {', '.join(ATTRIBUTES)}")
        return looks


class _Entropy(NamedTuple):
    """The mean cross entropy of what was asked for, how much of it is right, and how much it is; each ``[N]``."""

    loss: torch.Tensor
    right: torch.Tensor
    asked: torch.Tensor


class StorylandJudge:
    """A `storymem.training.judging.Judge`: cross entropy of what is read of heroes and scene.

    Of each the mean over what is asked for. Only heroes whose species is asked for are judged, which is where a head
    can be seen. Of clips in which another number of heroes is found nobody's looks are judged, and none of them is
    right; what counts is the hero too many or too few (see `miscounted`): where nothing is said of that, a model may
    come to show a hero who walks going both ways at once. Of two, the one who looks more like a species is taken to be
    meant, as when films are measured.

    Args:
        options: see `StorylandJudgeOptions`.

    Raises:
        SettingsError: an option is unknown or out of range.
        CheckpointError: the weights are no reader's.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = read_options(StorylandJudgeOptions, options, "reward.options")
        reader = load_reader(self.options.reader, shipped="judge.safetensors")
        self._network = reader.network.eval().requires_grad_(False)
        self._counts = {**dict.fromkeys(LABEL_CLASSES, 1.0), **self.options.looks, "action": self.options.action}

    @property
    def identity(self) -> str:
        """See `Judge.identity`."""
        numbers = self.options.model_dump(exclude={"reader", "looks"}).values()
        looks = (f"{name} {counts:g}" for name, counts in sorted(self.options.looks.items()))
        return "/".join(["storyland", weights_digest(self._network), *(f"{number:g}" for number in numbers), *looks])

    def to(self, device: torch.device) -> StorylandJudge:
        """See `Judge.to`."""
        self._network.to(device)
        return self

    def __call__(self, frames: torch.Tensor, labels: torch.Tensor, setting: torch.Tensor) -> Judgement:
        """See `Judge.__call__`; labels are those of `LABEL_CLASSES`, the setting is that of `SCENE_CLASSES`."""
        chosen = frames[:, :, frame_indices(frames.shape[2])].transpose(1, 2)
        pictures = to_reading_size(chosen.flatten(0, 1))
        pictures = pictures.reshape(*chosen.shape[:3], *pictures.shape[2:])  # [B, frames, 3, h, w]
        maps, features = self._network.look(pictures.flatten(0, 1))
        maps, features = (part.reshape(*pictures.shape[:2], *part.shape[1:]) for part in (maps, features))
        scene = self._entropy(self._network.read_scene(features), dict.fromkeys(SCENE_CLASSES, 1.0), setting)
        loss = self.options.scene * scene.loss
        right, asked = (scene.right, scene.asked) if self.options.scene else (0 * scene.right, 0 * scene.asked)
        rows, tracks = [], []  # of the K heroes who are judged: the clip, and the heads
        judged = labels[:, :, _SPECIES] >= 0
        as_many = torch.zeros_like(loss, dtype=torch.bool)
        stray = torch.zeros(len(frames), *pictures.shape[-2:], dtype=torch.bool, device=frames.device)
        for row, (wanted, one) in enumerate(zip(judged.sum(dim=1).tolist(), maps.detach().cpu().numpy(), strict=True)):
            found = follow_heads([find_heads(frame) for frame in one])
            if len(found) == wanted:
                rows += [row] * wanted
                tracks += found
                as_many[row] = True
            if self.options.heads:
                cost, stray[row] = miscounted(pictures[row], maps[row, :, 0], one, found, wanted)
                loss[row] += self.options.heads * cost
        if self.options.heads:
            asked = asked + ((labels >= 0) & judged[..., None]).sum(dim=(1, 2)) * ~as_many
        if rows:
            owners = torch.tensor(rows, device=frames.device)

            def of_clip(values: torch.Tensor) -> torch.Tensor:  # sums of those of its heroes
                return values.new_zeros(len(frames)).index_add(0, owners, values)

            read = self._read(pictures[owners], maps[owners], tracks)
            who = torch.stack(_who_is_who(rows, labels, read["species"].detach()))  # [K, L]
            heroes = self._entropy(read, self._counts, who)
            loss = loss + of_clip(heroes.loss) / of_clip(torch.ones_like(heroes.loss)).clamp(min=1)
            right, asked = right + of_clip(heroes.right), asked + of_clip(heroes.asked)
        return Judgement(loss, (right / asked).detach(), stray)

    def _entropy(
        self, read: Mapping[str, torch.Tensor], weights: Mapping[str, float], wanted: torch.Tensor
    ) -> _Entropy:
        """Of N things that were read, ``[N, classes]`` in each respect, and are wanted so: ``[N, respects]``."""
        loss = torch.zeros(len(wanted), device=wanted.device)
        right, weight = torch.zeros_like(loss), torch.zeros_like(loss)
        for (name, counts), asked in zip(weights.items(), wanted.unbind(1), strict=True):
            said = read[name]
            loss = loss + counts * functional.cross_entropy(
                said / self.options.temperature, asked, ignore_index=-1, reduction="none"
            )
            weight = weight + counts * (asked >= 0)
            right = right + (said.argmax(dim=1) == asked)
        mean = torch.where(weight > 0, loss / weight.clamp(min=1e-6), 0 * loss)
        return _Entropy(mean, right, (wanted >= 0).sum(dim=1).to(loss))

    def _read(
        self, pictures: torch.Tensor, maps: torch.Tensor, tracks: Sequence[Sequence[FloatArray | None]]
    ) -> dict[str, torch.Tensor]:
        """What is read of each of K heroes in ``[K, frames, 3, h, w]``: log-probabilities ``[K, classes]``."""
        there = pictures.new_tensor([[float(box is not None) for box in track] for track in tracks])
        boxes = torch.stack([torch.from_numpy(boxes_of(track)) for track in tracks]).to(pictures)
        moving = steady(_with_gradients(boxes, maps), there)  # a jump is a matter of where heads are
        boxes = steady(boxes, there)
        seen = self._network.see(pictures.flatten(0, 1), boxes.flatten(0, 1)).reshape(*pictures.shape[:2], -1)
        action = self._network.read_action(seen, moving, there).log_softmax(-1)
        return {**self._network.read_looks(seen, there), "action": action}


def _with_gradients(boxes: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
    """Boxes ``[K, frames, 4]`` as the very cells of ``[K, frames, 5, h, w]`` say that they were found in."""
    every = boxes_of_cells(maps)
    nearest = (every.detach() - boxes[:, :, None]).abs().sum(dim=-1).argmin(dim=-1)
    return every.gather(2, nearest[:, :, None, None].expand(-1, -1, 1, 4)).squeeze(2)


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
