"""Heroes too many or too few in a clip, in a way that has gradients."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from storymem.worlds.storyland.reader import APART, SURE, FloatArray, find_heads
from storymem.worlds.storyland.reader_network import GRID

__all__ = ["boxes_of_cells", "miscounted", "nearest"]

_ASIDE, _ABOVE, _BELOW = 1.0, 1.25, 2.25
"""What of the picture belongs to a hero, in head sizes from the middle of the head."""
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
    maps: torch.Tensor,
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
        maps: ``[F, 5, rows, columns]``, what the reader says of each cell.
        tracks: the heroes that were found, see `follow_heads`.
        wanted: how many there should be.

    Returns:
        The mean over the frames, 0 for those that are as they should be; and ``[h, w]`` bool, where somebody is who
        should not be there.
    """
    cells, logits = boxes_of_cells(maps.detach()), maps[:, 0].flatten(1)
    scores = logits.detach()

    def sure(at: int, box: FloatArray) -> float:
        return float(scores[at][nearest(cells[at], cells.new_tensor(box))])

    few = len(tracks) < wanted
    # Somebody who is hardly seen any more is still to go.
    heads = [find_heads(one, SURE if few else _FAINT) for one in maps.detach().cpu().numpy()]
    seen = [[(at, box) for at, box in enumerate(track) if box is not None] for track in tracks]
    stay = _who_stays([sum(sure(*one) for one in track) / len(track) for track in seen], wanted)
    stray = torch.zeros_like(pictures[0, 0], dtype=torch.bool)
    costs = [logits.new_zeros(())]
    for at, found in enumerate(heads):
        if len(found) >= wanted if few else len(found) <= wanted:
            continue
        kept = found if few else [box for box in (tracks[number][at] for number in stay) if box is not None]
        if len(kept) < wanted and not few:  # not everybody is clearly seen in this one
            kept = [found[number] for number in _who_stays([sure(at, box) for box in found], wanted)]
        behind = False
        for extra in found:
            if not any(_are_one(extra, one) for one in kept):
                place, other = _place_without(at, extra, kept, heads, pictures)
                stray |= place
                if other is not None:
                    difference = (pictures[at] - pictures[other].detach())[:, place].square().mean()
                    costs.append(_ERASE * difference)
                    behind |= float(difference.detach()) > _ALMOST
        free = torch.ones_like(logits[at], dtype=torch.bool)
        for box in (cells.new_tensor(one) for one in kept):
            away = (cells[at, :, :2] - box[:2]).norm(dim=-1)
            free &= away > APART * (cells[at, :, 2] + box[2]) / 2
        if free.any() and not behind:
            likeliest = logits[at][free].max()
            costs.append(functional.softplus(-likeliest if few else likeliest))
    return torch.stack(costs).sum() / len(heads), stray


def _who_stays(surety: Sequence[float], wanted: int) -> list[int]:
    """Of some from left to right those that the reader is surest of, and of those alike the ones on the right."""
    stay = list(range(len(surety)))
    while len(stay) > wanted:
        least = min(surety[number] for number in stay)
        stay.remove(next(number for number in stay if surety[number] < least + _ALIKE))
    return stay


def _are_one(one: FloatArray, other: FloatArray) -> bool:
    """Whether two finds are the same head."""
    return float(np.hypot(*(one[:2] - other[:2]))) <= APART * float(one[2] + other[2]) / 2


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
    rows = (down > middle - _ABOVE * size) & (down < middle + _BELOW * size)
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


def nearest(cells: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Of cells ``[..., n, 4]`` the one that a box was found in."""
    return (cells - boxes).abs().sum(dim=-1).argmin(dim=-1)
