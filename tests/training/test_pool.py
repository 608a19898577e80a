"""Encoded clips side by side: what is taken out is what was put in, clip by clip."""

from __future__ import annotations

import pytest
import torch

from storymem.training.encode import ResidentClip
from storymem.training.pool import ClipPool
from storymem.training.sections import DataSection
from storymem.training.store import ClipStore
from storymem.training.subjects import LatentSubjects


def _clip(number: float, subjects: int | None = 1) -> ResidentClip:
    latents = torch.full((4, 3, 2, 2), number)
    keyframes = torch.arange(2.0 * 2 * 4 * 2 * 2).view(2, 2, 4, 2, 2) + 100 * number
    known = None
    if subjects is not None:
        labels = torch.arange(3 * subjects).view(subjects, 3) + int(number)
        covered = torch.rand(2, subjects, 2, 2, generator=torch.Generator().manual_seed(int(number)))
        known = LatentSubjects(torch.ones(subjects, 3, 2, 2) * number / 10, covered, labels, labels % 2 == 0)
    return ResidentClip(latents, {1: latents + 0.5}, keyframes, (f"clip {number:g}",), known)


def _same(one: ResidentClip, other: ResidentClip) -> bool:
    assert one.subjects is not None
    assert other.subjects is not None
    return (
        torch.equal(one.latents, other.latents)
        and torch.equal(one.known(1), other.known(1))
        and torch.equal(one.keyframes, other.keyframes)
        and one.captions == other.captions
        and torch.equal(one.subjects.masks, other.subjects.masks)
        and torch.equal(one.subjects.keyframes, other.subjects.keyframes)
        and torch.equal(one.subjects.labels, other.subjects.labels)
        and torch.equal(one.subjects.shown, other.subjects.shown)
    )


def test_groups_come_back_as_they_were_whatever_came_and_went() -> None:
    """With room for one group at first, clips with ever more subjects, and groups of other sizes."""
    groups = {
        7: (_clip(1), _clip(2)),
        3: (_clip(3, 2), _clip(4, 0), _clip(5)),
        9: (_clip(6, 3),),
        4: tuple(_clip(n, n % 3) for n in range(10, 16)),
    }
    pool = ClipPool(1)
    for index, clips in groups.items():
        pool[index] = clips
    del pool[3]
    pool[11] = (_clip(20), _clip(21, 2))
    pool[9] = (_clip(8, 2),)
    groups = {7: groups[7], 4: groups[4], 11: (_clip(20), _clip(21, 2)), 9: (_clip(8, 2),)}
    assert sorted(pool) == sorted(groups)
    assert 3 not in pool
    for index, clips in groups.items():
        assert all(_same(one, other) for one, other in zip(pool[index], clips, strict=True))


def test_parts_are_taken_at_rows_keyframes_and_versions() -> None:
    pool = ClipPool(2)
    clips = (_clip(1), _clip(2, 2))
    pool[0] = clips
    rows = [pool.row(0, 1), pool.row(0, 0), pool.row(0, 1)]
    assert torch.equal(pool.take("latents", rows), torch.stack([clips[i].latents for i in (1, 0, 1)]))
    assert torch.equal(pool.take("known_1", rows[:2]), torch.stack([clips[i].known(1) for i in (1, 0)]))
    keyframes = pool.take("keyframes", rows, [0, 1, 1], [1, 0, 1])
    assert torch.equal(
        keyframes, torch.stack([clips[i].keyframes[k, v] for i, k, v in ((1, 0, 1), (0, 1, 0), (1, 1, 1))])
    )
    assert pool.captions(rows[1]) == ("clip 1",)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (1, 2, 0)])
def test_clips_of_unknown_subjects_show_none_beside_others(order: tuple[int, ...]) -> None:
    groups = ((_clip(1, None), _clip(2, None)), (_clip(3, None), _clip(4, 2)), (_clip(5, 1), _clip(6, None)))
    pool = ClipPool(1)
    for index in order:
        pool[index] = groups[index]
    known = groups[1][1].subjects
    assert known is not None
    batch = pool.subjects([pool.row(0, 0), pool.row(1, 1), pool.row(1, 0), pool.row(2, 1)])
    assert batch is not None
    assert torch.equal(batch.masks[1], known.masks.transpose(0, 1))
    assert torch.equal(batch.labels[1, 0], known.labels)
    assert batch.masks[[0, 2, 3]].abs().max() == 0
    assert (batch.labels[[0, 2, 3]] == -1).all()


def test_subjects_of_frames_with_fewer_are_padded() -> None:
    pool = ClipPool(1)
    one, two = clips = (_clip(1, 1), _clip(2, 2))
    pool[0] = (*clips, _clip(3, 3))
    assert one.subjects is not None
    assert two.subjects is not None
    rows = [pool.row(0, 0), pool.row(0, 1)]
    batch = pool.subjects(rows)
    assert batch is not None
    assert tuple(batch.masks.shape) == (2, 3, 2, 2, 2)  # no room for the third clip's three
    assert batch.masks[0, :, 1].eq(0).all()
    assert torch.equal(batch.masks[1].transpose(0, 1), two.subjects.masks)
    assert batch.labels[0].tolist() == [[[1, 2, 3], [-1, -1, -1]]] * 3
    assert batch.shown[0].tolist() == [[[False, True, False], [False] * 3]] * 3
    assert batch.shown_labels()[0].tolist() == [[-1, 2, -1], [-1, -1, -1]]
    remembered = pool.subjects([rows[1], rows[0], rows[0], rows[1]], [1, 0, 1, 0])
    assert remembered is not None
    remembered = remembered.regrouped(2)
    assert tuple(remembered.masks.shape) == (2, 2, 2, 2, 2)
    assert torch.equal(remembered.masks[0, 0], two.subjects.keyframes[1])
    assert torch.equal(remembered.masks[1, 0, 0], one.subjects.keyframes[1, 0])
    assert remembered.labels[1].tolist() == [[[1, 2, 3], [-1, -1, -1]], two.subjects.labels.tolist()]
    alone = pool.subjects([rows[0]], [0])
    assert alone is not None
    assert alone.masks.shape[2] == 1


def test_nothing_is_said_of_subjects_that_are_not_known() -> None:
    pool = ClipPool(1)
    pool[0] = (_clip(1, None), _clip(2, None))
    assert pool.subjects([pool.row(0, 0)]) is None
    assert pool[0][1].subjects is None


class _Clips:
    """Two clips a group; counts what is loaded."""

    blank = torch.zeros(4, 3, 2, 2)

    def __init__(self) -> None:
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return 100

    def size(self, index: int) -> int:
        return 2

    def subjects(self, index: int, clip: int) -> tuple[tuple[int, ...], ...]:
        return ()

    def load(self, index: int) -> tuple[ResidentClip, ...]:
        self.loaded.append(index)
        return _clip(float(index)), _clip(index + 0.5)


def test_a_window_that_moves_loads_what_is_new_and_looks_at_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Views of all clips of a pool of hundreds of groups take longer than a small network's step."""
    loader = _Clips()
    store = ClipStore(loader, DataSection(world="squares", pool=4, refresh=1.0), windowed=True)
    store.prepare(0)
    monkeypatch.setattr(ClipPool, "__getitem__", lambda *_: pytest.fail("a group that is there was looked at"))
    store.prepare(0)
    store.prepare(2)
    assert loader.loaded == [0, 1, 2, 3, 4, 5]
