"""Storyland's judge: what it says of true drawings, of wrong ones, and of those that it cannot judge."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from storymem.errors import SettingsError, StoryMemError
from storymem.training.judging import open_judge
from storymem.worlds.storyland import render, sample_group, sample_shot
from storymem.worlds.storyland.judge import StorylandJudge, _who_is_who
from storymem.worlds.storyland.shots import ShotSpec
from storymem.worlds.storyland.truth import LABEL_CLASSES, ground_truth, hero_labels, labels_shown

FRAMES, HEIGHT, WIDTH = 25, 64, 112


def labels_of(spec: ShotSpec) -> torch.Tensor:
    """``[2, L]``, as training has them."""
    shown = torch.from_numpy(labels_shown(spec, FRAMES, HEIGHT, WIDTH))
    labels = torch.from_numpy(hero_labels(spec)).masked_fill(~shown, -1)
    return torch.nn.functional.pad(labels, (0, 0, 0, 2 - len(labels)), value=-1)


@pytest.fixture(scope="module")
def clips() -> tuple[torch.Tensor, torch.Tensor]:
    """Clips of one and two heroes that training never saw, and their labels."""
    specs = [clip.spec for number in (1, 2, 5, 8) for clip in sample_group(number, "test", clips=3).clips]
    return render(specs, FRAMES, HEIGHT, WIDTH), torch.stack([labels_of(spec) for spec in specs])


@pytest.fixture(scope="module")
def judge() -> StorylandJudge:
    return StorylandJudge({})


def test_what_is_shown_is_what_the_truth_says() -> None:
    for number in range(12):
        spec = sample_shot(number)
        shown = labels_shown(spec, FRAMES, HEIGHT, WIDTH)
        for hero, row in zip(ground_truth(spec, FRAMES, HEIGHT, WIDTH)["heroes"], shown, strict=True):
            assert {name for name, one in zip(LABEL_CLASSES, row, strict=True) if one} == {*hero["visible"], "action"}


def test_true_drawings_are_judged_well_and_others_badly(
    judge: StorylandJudge, clips: tuple[torch.Tensor, torch.Tensor]
) -> None:
    frames, labels = clips
    true = judge(frames, labels)
    assert true.right.nanmean() > 0.85
    classes = torch.tensor([len(names) for names in LABEL_CLASSES.values()])
    others = torch.where(labels >= 0, (labels + 1) % classes, labels)
    wrong = judge(frames, others)
    assert wrong.right.nanmean() < 0.15
    judged = ~true.right.isnan()
    assert judged.float().mean() > 0.8
    assert (wrong.loss[judged] > true.loss[judged]).all()


def test_following_its_gradient_makes_a_picture_better(
    judge: StorylandJudge, clips: tuple[torch.Tensor, torch.Tensor]
) -> None:
    frames, labels = clips
    damaged = (frames[:4] * 0.4 + 0.1).requires_grad_()
    before = judge(damaged, labels[:4])
    (gradient,) = torch.autograd.grad(before.loss.sum(), damaged)
    after = judge(damaged.detach() - 0.05 * gradient / gradient.abs().amax(), labels[:4])
    assert after.loss.sum() < before.loss.sum()


def test_clips_with_another_number_of_heroes_are_not_judged(
    judge: StorylandJudge, clips: tuple[torch.Tensor, torch.Tensor]
) -> None:
    frames, labels = (part[:2].clone() for part in clips)
    frames[0] = 0.3  # nobody is there
    frames.requires_grad_()
    said = judge(frames, labels)
    assert said.right.isnan().tolist() == [True, False]
    (gradient,) = torch.autograd.grad(said.loss.sum(), frames)
    assert not gradient[0].any()
    assert gradient[1].any()
    nobody = torch.full_like(frames, 0.3).requires_grad_()
    said = judge(nobody, labels)
    assert said.right.isnan().all()
    assert not torch.autograd.grad(said.loss.sum(), nobody)[0].any()


def test_what_is_not_asked_for_does_not_count(judge: StorylandJudge, clips: tuple[torch.Tensor, torch.Tensor]) -> None:
    frames, labels = (part[:3] for part in clips)
    colour = list(LABEL_CLASSES).index("hat_colour")
    hidden = labels.clone()
    hidden[:, :, colour] = -1
    other = torch.where(labels >= 0, (labels + 3) % len(LABEL_CLASSES["hat_colour"]), labels)[:, :, colour]
    wrong = labels.clone()
    wrong[:, :, colour] = other
    worn = (labels[:, :, colour] >= 0).any(dim=1)
    assert worn.any()
    assert (judge(frames, wrong).loss[worn] > judge(frames, hidden).loss[worn]).all()


def test_of_two_the_one_who_looks_more_like_a_species_is_meant() -> None:
    labels = torch.full((1, 2, len(LABEL_CLASSES)), -1)
    labels[0, :, 0] = torch.tensor([3, 5])
    labels[0, :, 1] = torch.tensor([0, 1])
    seen = torch.full((2, len(LABEL_CLASSES["species"])), -5.0)
    seen[0, 5] = seen[1, 3] = 0.0  # the other way round
    assert [int(one[1]) for one in _who_is_who([0, 0], labels, seen)] == [1, 0]
    assert [int(one[1]) for one in _who_is_who([0, 0], labels, seen.flip(0))] == [0, 1]


def test_its_options(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"reward.options.temperature: .*storyland knows reader, temperature"):
        StorylandJudge({"temperature": 0})
    with pytest.raises(SettingsError, match=r"reward.options.raeder"):
        StorylandJudge({"raeder": "x"})
    with pytest.raises(StoryMemError, match="none"):
        StorylandJudge({"reader": tmp_path / "none.safetensors"})
    assert StorylandJudge({}).identity != StorylandJudge({"temperature": 2}).identity


def test_it_is_known_to_training() -> None:
    from storymem.cli.train import register_worlds

    register_worlds()
    assert isinstance(open_judge("storyland", {}), StorylandJudge)
