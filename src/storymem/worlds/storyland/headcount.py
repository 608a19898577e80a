"""Heroes too many or too few in a clip, in a way that has gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from storymem.worlds.storyland.reader import SURE, FloatArray, are_one, find_heads
from storymem.worlds.storyland.reader_network import ABOVE, BELOW, GRID

__all__ = ["boxes_of_cells", "miscounted"]

_ASIDE = 1.0
"""Of the picture to the left and right of a hero, in head sizes: less than is read of one, as two may stand close."""
_FEWEST = 3
"""Columns of pixels that must be seen without heroes at another moment, or it is not known what is behind."""
_FAINT = 0.05
"""How likely a head too many must be. What is left of somebody is less of a head than a whole one."""
_ALIKE = 3.0
"""Logits by which a reader must be surer of one hero than of another, or nobody can tell who is real."""
_ERASE = 10.0
"""How much the squared difference from what is behind counts: a whole hero is about as much as a head."""
_ALMOST = 0.02
"""Mean squared difference; with less what is taken for the background is somebody whose head was lost before."""


def miscounted(
    pictures: torch.Tensor,
    logits: torch.Tensor,
    seen: FloatArray,
    tracks: Sequence[Sequence[FloatArray | None]],
    wanted: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What it costs that a clip shows more or fewer heroes than it should.

    In frames with too many it is how much their places differ from the same places at another moment, when nobody is
    there. Who may stay are those that the reader is surest of, and of two alike the one on the right: where a model
    shows somebody walking both ways at once, it is easier to learn that all go one way than that chance decides. Where
    nobody knows what is behind, it is the cross entropy of there being no head, which says less: a few pixels are
    enough for a head to be none to the reader. In frames with too few it is the cross entropy of there being one, but
    only if most frames have too few: a hero may walk out of the picture.

    Args:
        pictures: ``[F, 3, h, w]``, the frames that are looked at.
        logits: ``[F, rows, columns]``, whether a head is in a cell, as the reader says it; with gradients.
        seen: ``[F, 5, rows, columns]``, all that it says of each cell.
        tracks: the heroes that were found, see `follow_heads`.
        wanted: how many there should be.

    Returns:
        The mean over the frames, 0 for those that are as they should be; and ``[h, w]`` bool, where somebody is who
        should not be there.
    """
    logits = logits.flatten(1)
    cells, scores = boxes_of_cells(torch.from_numpy(seen)).numpy(), seen[:, 0].reshape(len(seen), -1)

    def sure(at: int, box: FloatArray) -> float:
        return float(scores[at, np.abs(cells[at] - box).sum(axis=-1).argmin()])

    few = len(tracks) < wanted
    # Somebody who is hardly seen any more is still to go.
    heads = [find_heads(one, SURE if few else _FAINT) for one in seen]
    found_in = [[(at, box) for at, box in enumerate(track) if box is not None] for track in tracks]
    stay = _who_stays([sum(sure(*one) for one in track) / len(track) for track in found_in], wanted)
    stray = torch.zeros_like(pictures[0, 0], dtype=torch.bool)
    costs = [logits.new_zeros(())]
    for at, found in enumerate(heads):
        if len(found) >= wanted if few else len(found) <= wanted:
            continue
        kept = found if few else [box for box in (tracks[number][at] for number in stay) if box is not None]
        if len(kept) < wanted and not few:  # not everybody is clearly seen in this one
            kept = [found[number] for number in _who_stays([sure(at, box) for box in found], wanted)]
        behind = False
        for extra in (box for box in found if not any(are_one(box, one) for one in kept)):
            place, other = _place_without(at, extra, kept, heads, pictures)
            stray |= place
            if other is not None:
                difference = (pictures[at] - pictures[other].detach())[:, place].square().mean()
                costs.append(_ERASE * difference)
                behind |= float(difference.detach()) > _ALMOST
        free = ~np.any([are_one(cells[at], one) for one in kept], axis=0) if kept else np.ones(len(cells[at]), bool)
        if free.any() and not behind:
            likeliest = logits[at, torch.from_numpy(free).to(logits.device)].max()
            costs.append(functional.softplus(-likeliest if few else likeliest))
    return torch.stack(costs).sum() / len(heads), stray


def _who_stays(surety: Sequence[float], wanted: int) -> list[int]:
    """Of some from left to right those that the reader is surest of, and of those alike the ones on the right."""
    stay = list(range(len(surety)))
    while len(stay) > wanted:
        least = min(surety[number] for number in stay)
        stay.remove(next(number for number in stay if surety[number] < least + _ALIKE))
    return stay


def _place_without(
    at: int, box: FloatArray, kept: Sequence[FloatArray], heads: Sequence[Sequence[FloatArray]], pictures: torch.Tensor
) -> tuple[torch.Tensor, int | None]:
    """Where in a frame one hero is alone, ``[h, w]`` bool, as far as it is seen without anybody at another moment.

    Returns:
        The place, and the number of the frame of that moment; None if there is none, and all of the place.
    """
    height, width = pictures.shape[-2:]
    across = torch.arange(width, device=pictures.device) + 0.5
    down = torch.arange(height, device=pictures.device) + 0.5

    def columns(one: FloatArray) -> torch.Tensor:
        return (across - float(one[0])).abs() < _ASIDE * float(one[2] + one[3]) / 2

    size, middle = float(box[2] + box[3]) / 2, float(box[1])
    rows = (down > middle - ABOVE * size) & (down < middle + BELOW * size)
    own = columns(box)
    for one in kept:
        own &= ~columns(one)
    best: tuple[int, torch.Tensor] | None = None
    for other in sorted(range(len(heads)), key=lambda number: (abs(number - at), number)):
        clear = own.clone()
        for one in heads[other]:
            clear &= ~columns(one)
        if other != at and int(clear.sum()) > max(_FEWEST - 1, 0 if best is None else int(best[1].sum())):
            best = (other, clear)
    if best is None:
        return rows[:, None] & own, None
    return rows[:, None] & best[1], best[0]


def boxes_of_cells(maps: torch.Tensor) -> torch.Tensor:
    """The head that each cell of ``[..., 5, h, w]`` would be of: ``[..., h * w, 4]``, as `find_heads` has them."""
    rows, columns = (torch.arange(size, device=maps.device) for size in maps.shape[-2:])
    middles = [maps[..., 1, :, :] + columns, maps[..., 2, :, :] + rows[:, None]]
    sizes = maps[..., 3:, :, :].clamp(-1, 3).exp().unbind(-3)
    return torch.stack([*middles, *sizes], dim=-1).flatten(-3, -2) * GRID
