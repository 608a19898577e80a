"""Encoded clips side by side in a few large tensors, so that a batch is a handful of index operations.

Taken one by one, the parts of a batch of hundreds of small clips cost more time than the network's step on an
accelerator.
"""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence

import torch

from storymem.training.encode import EncodedClip, ResidentClip
from storymem.training.subjects import LatentSubjects, SubjectBatch

__all__ = ["ClipPool"]

_LABELS, _SHOWN = "labels", "shown"


class ClipPool(MutableMapping[int, tuple[EncodedClip, ...]]):
    """Groups of encoded clips by number, all clips of one shape; what is put in is copied, what is read is a view.

    As soon as the subjects of one clip are known, clips of which they are not known count as showing none.

    Args:
        groups: how many there is room for from the start.
    """

    def __init__(self, groups: int) -> None:
        self._groups = groups
        self._rows: dict[int, list[int]] = {}
        self._free: list[int] = []
        self._captions: dict[int, tuple[str, ...]] = {}
        self._numbers: dict[int, int] = {}
        """Subjects of a row's clip, of which the tensors have room for the most that any has."""
        self._parts: dict[str, torch.Tensor] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[int]:
        return iter(self._rows)

    def __contains__(self, group: object) -> bool:
        return group in self._rows

    def __setitem__(self, group: int, clips: tuple[EncodedClip, ...]) -> None:
        if group in self._rows:
            del self[group]
        taken = [_parts_of(clip) for clip in clips]
        every = {name: part for parts in taken for name, part in parts.items()}
        self._make_room(len(clips), every, max((_number_of(clip) for clip in clips), default=0))
        rows = [self._free.pop() for _ in clips]
        place = torch.tensor(rows, device=self._parts["latents"].device)
        for name, whole in self._parts.items():
            shape = whole.shape[1:]
            if name in _SUBJECT_DIMENSION:  # where a clip's are not known, there are none
                parts_of_it = [parts.get(name, whole.new_empty(_shape_with(name, shape, 0))) for parts in taken]
            else:
                parts_of_it = [parts[name] for parts in taken]
            whole[place] = torch.stack([_padded(name, part, shape) for part in parts_of_it])
        for row, clip in zip(rows, clips, strict=True):
            self._captions[row] = clip.captions
            self._numbers[row] = _number_of(clip)
        self._rows[group] = rows

    def __delitem__(self, group: int) -> None:
        self._free += reversed(self._rows.pop(group))

    def __getitem__(self, group: int) -> tuple[ResidentClip, ...]:
        return tuple(self._clip(row) for row in self._rows[group])

    def row(self, group: int, clip: int) -> int:
        """Where a clip stands in the tensors."""
        return self._rows[group][clip]

    def captions(self, row: int) -> tuple[str, ...]:
        """Of the clip there."""
        return self._captions[row]

    def take(self, name: str, *places: Sequence[int]) -> torch.Tensor:
        """Parts of some clips: ``latents``, ``known_N``, or ``keyframes`` at rows, keyframes and versions."""
        part = self._parts[name]
        return part[tuple(torch.tensor(place).to(part.device, non_blocking=True) for place in places)]

    def subjects(self, rows: Sequence[int], keyframes: Sequence[int] | None = None) -> SubjectBatch | None:
        """Those of clips, or with as many `keyframes` of those frames alone, as batches of one frame; None: not known.

        There is room for as many subjects as the clip with most of them has.
        """
        if _LABELS not in self._parts:
            return None
        most = max(self._numbers[row] for row in rows)
        labels, shown = (self.take(name, rows)[:, None, :most] for name in (_LABELS, _SHOWN))
        if keyframes is not None:
            return SubjectBatch(self.take("covered", rows, keyframes)[:, None, :most].float(), labels, shown)
        masks = self.take("masks", rows)[:, :most].transpose(1, 2).float()
        return SubjectBatch(masks, *(part.expand(-1, masks.shape[1], -1, -1) for part in (labels, shown)))

    def _clip(self, row: int) -> ResidentClip:
        parts = {name: whole[row] for name, whole in self._parts.items()}
        number = self._numbers[row]
        subjects = None
        if _LABELS in parts:
            covered, named = parts["covered"][:, :number], (parts[name][:number] for name in (_LABELS, _SHOWN))
            subjects = LatentSubjects(parts["masks"][:number], covered, *named)
        known = {int(name.removeprefix("known_")): part for name, part in parts.items() if name.startswith("known_")}
        return ResidentClip(parts["latents"], known, parts["keyframes"], self._captions[row], subjects)

    def _make_room(self, clips: int, like: dict[str, torch.Tensor], subjects: int) -> None:
        """For so many more clips with so many subjects."""
        rows = self._parts["latents"].shape[0] if self._parts else 0
        grown = rows + max(clips - len(self._free), 0)
        if grown > rows:
            grown = max(grown, self._groups * clips, 2 * rows if rows else 0)
        room = subjects if _LABELS not in self._parts else max(subjects, self._parts[_LABELS].shape[1])
        begun = {name: part.new_empty((0, *part.shape)) for name, part in like.items() if name not in self._parts}
        for name, before in {**self._parts, **begun}.items():
            self._parts[name] = _padded(name, before, (grown, *_shape_with(name, before.shape[1:], room)))
        self._free += range(grown - 1, rows - 1, -1)


def _number_of(clip: EncodedClip) -> int:
    return 0 if clip.subjects is None else clip.subjects.labels.shape[0]


def _parts_of(clip: EncodedClip) -> dict[str, torch.Tensor]:
    assert isinstance(clip, ResidentClip)
    parts = {"latents": clip.latents, "keyframes": clip.keyframes}
    parts |= {f"known_{count}": part for count, part in clip.conditions.items()}
    if clip.subjects is not None:
        subjects = clip.subjects
        parts |= {"masks": subjects.masks, "covered": subjects.keyframes, _LABELS: subjects.labels}
        parts[_SHOWN] = subjects.shown
    return parts


_SUBJECT_DIMENSION = {"masks": 0, "covered": 1, _LABELS: 0, _SHOWN: 0}


def _shape_with(name: str, shape: Sequence[int], subjects: int) -> tuple[int, ...]:
    at = _SUBJECT_DIMENSION.get(name)
    return tuple(subjects if dimension == at else size for dimension, size in enumerate(shape))


def _padded(name: str, tensor: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    if tuple(tensor.shape) == tuple(shape):
        return tensor
    out = tensor.new_full(tuple(shape), -1 if name == _LABELS else 0)
    out[tuple(slice(0, size) for size in tensor.shape)] = tensor
    return out
