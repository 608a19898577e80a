"""Storyland's judge: what it says of true drawings, of wrong ones, and of those that it cannot judge."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from storymem.errors import SettingsError, StoryMemError
from storymem.training.judging import open_judge
from storymem.worlds.storyland import render, sample_group, sample_shot
from storymem.worlds.storyland.headcount import boxes_of_cells, miscounted
from storymem.worlds.storyland.judge import StorylandJudge, _who_is_who, _with_gradients
from storymem.worlds.storyland.reader import find_heads, follow_heads, load_reader
from storymem.worlds.storyland.reader_network import frame_indices
from storymem.worlds.storyland.shots import ShotSpec
from storymem.worlds.storyland.source import StorylandSource
from storymem.worlds.storyland.truth import LABEL_CLASSES, SCENE_CLASSES, ground_truth, hero_subjects, scene_labels

FRAMES, HEIGHT, WIDTH = 25, 64, 112


class Clips(NamedTuple):
    frames: torch.Tensor
    labels: torch.Tensor
    setting: torch.Tensor

    def first(self, number: int) -> Clips:
        return Clips(*(part[:number].clone() for part in self))


def labels_of(spec: ShotSpec) -> torch.Tensor:
    """``[2, L]``, as training has them."""
    _, labels, shown = map(torch.from_numpy, hero_subjects(spec, FRAMES, HEIGHT, WIDTH))
    labels = labels.masked_fill(~shown, -1)
    return torch.nn.functional.pad(labels, (0, 0, 0, 2 - len(labels)), value=-1)


@pytest.fixture(scope="module")
def clips() -> Clips:
    """Clips of one and two heroes that training never saw, and what they show."""
    specs = [clip.spec for number in (1, 2, 5, 8) for clip in sample_group(number, "test", clips=3).clips]
    settings = torch.tensor([scene_labels(spec) for spec in specs])
    return Clips(render(specs, FRAMES, HEIGHT, WIDTH), torch.stack([labels_of(spec) for spec in specs]), settings)


@pytest.fixture(scope="module")
def judge() -> StorylandJudge:
    return StorylandJudge({})


@pytest.fixture(scope="module")
def of_heroes() -> StorylandJudge:
    """One that does not look at the scene."""
    return StorylandJudge({"scene": 0})


def test_what_is_shown_is_what_the_truth_says() -> None:
    for number in range(12):
        spec = sample_shot(number)
        shown = hero_subjects(spec, FRAMES, HEIGHT, WIDTH).shown
        for hero, row in zip(ground_truth(spec, FRAMES, HEIGHT, WIDTH)["heroes"], shown, strict=True):
            assert {name for name, one in zip(LABEL_CLASSES, row, strict=True) if one} == {*hero["visible"], "action"}


def test_true_drawings_are_judged_well_and_others_badly(of_heroes: StorylandJudge, clips: Clips) -> None:
    true = of_heroes(*clips)
    assert true.right.nanmean() > 0.85
    wrong = of_heroes(clips.frames, others(clips.labels, LABEL_CLASSES), clips.setting)
    assert wrong.right.nanmean() < 0.15
    judged = ~true.right.isnan()
    assert judged.float().mean() > 0.8
    assert (wrong.loss[judged] > true.loss[judged]).all()


def others(labels: torch.Tensor, names: dict[str, tuple[str, ...]]) -> torch.Tensor:
    """Wrong in everything that is asked for."""
    return torch.where(labels >= 0, (labels + 1) % torch.tensor([len(one) for one in names.values()]), labels)


def test_the_scene_is_judged_too(judge: StorylandJudge, of_heroes: StorylandJudge, clips: Clips) -> None:
    elsewhere = others(clips.setting, SCENE_CLASSES)
    true, wrong = judge(*clips), judge(clips.frames, clips.labels, elsewhere)
    assert (true.right > wrong.right + 0.1).all()
    assert (wrong.loss > true.loss).all()
    torch.testing.assert_close(of_heroes(*clips).loss, of_heroes(clips.frames, clips.labels, elsewhere).loss)
    without = torch.full_like(clips.setting, -1)  # nothing is asked of it
    torch.testing.assert_close(judge(clips.frames, clips.labels, without).loss, of_heroes(*clips).loss)


def test_what_a_place_does_not_have_is_not_asked_for() -> None:
    for number in range(40):
        spec = sample_shot(number)
        truth = ground_truth(spec, FRAMES, HEIGHT, WIDTH)
        for (name, classes), label in zip(SCENE_CLASSES.items(), scene_labels(spec), strict=True):
            assert (None if label < 0 else classes[label]) == truth[name]
    source = StorylandSource(WIDTH, HEIGHT, FRAMES, {"clips": 3})
    specs = [clip.spec for clip in sample_group(5, "train", clips=3, two_heroes=0.4, told=0.4).clips]
    assert [source.setting(5, clip) for clip in range(3)] == [scene_labels(spec) for spec in specs]


@pytest.mark.parametrize("scene", [0, 1])
def test_following_its_gradient_makes_a_picture_better(scene: float, clips: Clips) -> None:
    judge = StorylandJudge({"scene": scene})
    frames, *asked = clips.first(4)
    damaged = (frames * 0.4 + 0.1).requires_grad_()
    before = judge(damaged, *asked)
    (gradient,) = torch.autograd.grad(before.loss.sum(), damaged)
    after = judge(damaged.detach() - 0.05 * gradient / gradient.abs().amax(), *asked)
    assert after.loss.sum() < before.loss.sum()


def test_in_clips_with_another_number_of_heroes_nobodys_looks_are_judged(clips: Clips) -> None:
    of_looks = StorylandJudge({"scene": 0, "heads": 0})
    frames, *asked = clips.first(2)
    frames[0] = 0.3  # nobody is there
    frames.requires_grad_()
    assert StorylandJudge({"heads": 0})(frames, *asked).right[0] <= 1
    said = of_looks(frames, *asked)
    assert said.right.isnan().tolist() == [True, False]
    (gradient,) = torch.autograd.grad(said.loss.sum(), frames)
    assert not gradient[0].any()
    assert gradient[1].any()
    nobody = torch.full_like(frames, 0.3).requires_grad_()
    said = of_looks(nobody, *asked)
    assert said.right.isnan().all()
    assert not torch.autograd.grad(said.loss.sum(), nobody)[0].any()


def heads_of(judge: StorylandJudge, frames: torch.Tensor) -> list[int]:
    """How many heads there are in each frame of a clip ``[3, F, h, w]`` that is looked at."""
    maps = judge._network.look(frames[:, frame_indices(FRAMES)].transpose(0, 1))[0]
    return [len(find_heads(frame)) for frame in maps.detach().numpy()]


def one_of_two(clips: Clips, judge: StorylandJudge) -> Clips:
    """Clips that show two heroes throughout, where one is asked for."""
    two = [
        row
        for row, (frames, labels) in enumerate(zip(clips.frames, clips.labels, strict=True))
        if (labels[:, 0] >= 0).all() and set(heads_of(judge, frames)) == {2}
    ]
    chosen = Clips(*(part[two].clone() for part in clips))
    chosen.labels[:, 1] = -1
    return chosen


def test_a_head_too_many_is_to_go(of_heroes: StorylandJudge, clips: Clips) -> None:
    frames, *asked = one_of_two(clips, of_heroes)
    assert len(frames)
    assert (StorylandJudge({"scene": 0, "heads": 0})(frames, *asked).loss == 0).all()
    frames.requires_grad_()
    said = of_heroes(frames, *asked)
    assert (said.right == 0).all()  # all that is asked of somebody who is not told from another
    assert (said.loss > 1).all()
    assert said.stray is not None
    for picture, one in zip(said.stray, frames, strict=True):  # around one of the two
        middles = [box[0] for box in find_heads(of_heroes._network.look(one[:, 12][None])[0][0].detach().numpy())]
        assert [bool(picture[:, int(x)].any()) for x in middles].count(True) == 1
    (gradient,) = torch.autograd.grad(said.loss.sum(), frames, retain_graph=True)
    for change, picture in zip(gradient, said.stray, strict=True):
        assert change[..., picture.any(dim=0)].abs().sum() > 0.5 * change.abs().sum()  # the other one stays
    for _ in range(60):
        (gradient,) = torch.autograd.grad(of_heroes(frames, *asked).loss.sum(), frames)
        step = 0.04 * gradient / gradient.abs().amax(dim=(1, 3, 4), keepdim=True).clamp(min=1e-9)
        frames = (frames - step).detach().requires_grad_()
    left = [number for one in frames for number in heads_of(of_heroes, one)]
    assert left.count(1) > 0.7 * len(left)
    assert left.count(0) == 0


def test_a_head_too_few_is_to_come(of_heroes: StorylandJudge, clips: Clips) -> None:
    """Nobody can be drawn by a reader's gradient alone, but it says where somebody is looked for."""
    _, *asked = clips.first(3)
    nobody = torch.full_like(clips.frames[:3], 0.3).requires_grad_()
    said = of_heroes(nobody, *asked)
    assert (said.right == 0).all()
    (gradient,) = torch.autograd.grad(said.loss.sum(), nobody)
    better = (nobody - 0.05 * gradient / gradient.abs().amax()).detach()
    assert (of_heroes(better, *asked).loss < said.loss).all()
    assert said.stray is not None
    assert not said.stray.any()


def test_who_should_not_be_there_is_drawn_over_with_what_was_there_before(
    of_heroes: StorylandJudge, clips: Clips
) -> None:
    """A second hero who comes later: the gradient says what is behind, and not only how he is no longer found."""
    frames, labels, setting = one_of_two(clips, of_heroes)
    heads = find_heads(of_heroes._network.look(frames[:1, :, 0])[0][0].detach().numpy())
    assert len(heads) == 2
    frames, labels, setting = frames[:1], labels[:1], setting[:1]
    cut = int(heads[0][0] + heads[1][0]) // 2
    looked_at = frame_indices(FRAMES)
    frames[:] = frames[:, :, :1].clone()
    frames[:, :, : looked_at[2], :, :cut] = 0.3  # only the right one in the first two that are looked at
    assert heads_of(of_heroes, frames[0]) == [1, 1, 2, 2, 2]
    frames.requires_grad_()
    (gradient,) = torch.autograd.grad(of_heroes(frames, labels, setting).loss.sum(), frames)
    there = gradient[..., :cut].flatten()
    off = (frames.detach()[..., :cut] - 0.3).where(gradient[..., :cut] != 0, 0).flatten()
    assert torch.nn.functional.cosine_similarity(there, off, dim=0) > 0.95
    assert (there != 0).sum() > 1000
    for _ in range(30):
        (gradient,) = torch.autograd.grad(of_heroes(frames, labels, setting).loss.sum(), frames)
        frames = (frames - 0.1 * gradient / gradient.abs().amax()).detach().requires_grad_()
    assert heads_of(of_heroes, frames[0]) == [1, 1, 1, 1, 1]


def test_who_is_real_is_not_drawn_over_where_the_other_is_hardly_seen(of_heroes: StorylandJudge, clips: Clips) -> None:
    """In a frame with one clear head and one faint one nobody is followed, but one of them is to stay."""
    network, two = of_heroes._network, one_of_two(clips, of_heroes)
    pictures = two.frames[0, :, frame_indices(FRAMES)].transpose(0, 1)
    maps = network.look(pictures)[0].detach()
    tracks = follow_heads([find_heads(one) for one in maps.numpy()])
    left, right = (track[2] for track in tracks)
    assert left is not None and right is not None  # noqa: PT018 - for mypy
    cells = maps[2, 0].flatten()
    far = (boxes_of_cells(maps[2])[:, 0] < (left[0] + right[0]) / 2) & (cells > -4)
    maps[2, 0] = torch.where(far, torch.minimum(cells, torch.tensor(-1.6)), cells).view_as(maps[2, 0])  # 0.17
    assert [len(find_heads(one)) for one in maps.numpy()] == [2, 2, 1, 2, 2]
    tracks = follow_heads([find_heads(one) for one in maps.numpy()])
    assert tracks[0][2] is tracks[1][2] is None
    _, stray = miscounted(pictures, maps[:, 0], maps.numpy(), tracks, 1)
    assert stray[:, int(left[0])].any()
    assert not stray[:, int(right[0]) :].any()


def test_of_a_second_head_for_a_moment_the_looks_are_judged_all_the_same(
    of_heroes: StorylandJudge, clips: Clips
) -> None:
    frames, labels, setting = one_of_two(clips, of_heroes)
    alone = Clips(frames.clone(), labels, setting)
    for one in alone.frames:  # hidden but in the last frame that is looked at
        right = max(find_heads(of_heroes._network.look(one[:, :1].transpose(0, 1))[0][0].detach().numpy()),
                    key=lambda box: box[0])  # fmt: skip
        one[:, :20, :, max(0, int(right[0] - right[2])) :] = 0.3
    shown = [row for row, one in enumerate(alone.frames) if heads_of(of_heroes, one) == [1, 1, 1, 1, 2]]
    assert shown
    said = of_heroes(*(part[shown] for part in alone))
    without = StorylandJudge({"scene": 0, "heads": 0})(*(part[shown] for part in alone))
    assert (said.loss > without.loss).all()
    assert torch.equal(said.right, without.right)


def test_what_is_not_asked_for_does_not_count(judge: StorylandJudge, clips: Clips) -> None:
    frames, labels, setting = clips.first(3)
    colour = list(LABEL_CLASSES).index("hat_colour")
    hidden = labels.clone()
    hidden[:, :, colour] = -1
    other = torch.where(labels >= 0, (labels + 3) % len(LABEL_CLASSES["hat_colour"]), labels)[:, :, colour]
    wrong = labels.clone()
    wrong[:, :, colour] = other
    worn = (labels[:, :, colour] >= 0).any(dim=1)
    assert worn.any()
    assert (judge(frames, wrong, setting).loss[worn] > judge(frames, hidden, setting).loss[worn]).all()


def test_of_two_the_one_who_looks_more_like_a_species_is_meant() -> None:
    labels = torch.full((1, 2, len(LABEL_CLASSES)), -1)
    labels[0, :, 0] = torch.tensor([3, 5])
    labels[0, :, 1] = torch.tensor([0, 1])
    seen = torch.full((2, len(LABEL_CLASSES["species"])), -5.0)
    seen[0, 5] = seen[1, 3] = 0.0  # the other way round
    assert [int(one[1]) for one in _who_is_who([0, 0], labels, seen)] == [1, 0]
    assert [int(one[1]) for one in _who_is_who([0, 0], labels, seen.flip(0))] == [0, 1]


def test_it_is_a_stranger_to_the_reader_that_measures() -> None:
    measures, judges = (load_reader(shipped=name) for name in ("reader.safetensors", "judge.safetensors"))
    assert measures.about["seed"] != judges.about["seed"]
    weights = judges.network.state_dict()
    for name, one in measures.network.state_dict().items():
        if one.numel() > 2000:  # few numbers are alike because they say the same
            other = weights[name]
            assert abs(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0)) < 0.2, name


def test_its_options(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"reward.options.temperature: .*storyland knows reader, action, looks, scene, heads, temp"
    ):
        StorylandJudge({"temperature": 0})
    with pytest.raises(SettingsError, match=r"reward.options.raeder"):
        StorylandJudge({"raeder": "x"})
    with pytest.raises(StoryMemError, match="none"):
        StorylandJudge({"reader": tmp_path / "none.safetensors"})
    with pytest.raises(SettingsError, match=r"reward.options.looks: nobody has 'hats'; looks are species, build,"):
        StorylandJudge({"looks": {"hats": 2}})
    for other in ({"temperature": 2}, {"scene": 1}, {"action": 1}, {"looks": {"hat": 2}}, {"heads": 0}):
        assert StorylandJudge({}).identity != StorylandJudge(other).identity


def test_looks_count_as_much_as_is_said(clips: Clips) -> None:
    hat = tuple(LABEL_CLASSES).index("hat")
    wrong = clips.labels.clone()
    worn = wrong[:, :, hat] >= 0
    wrong[:, :, hat] = torch.where(worn, (wrong[:, :, hat] + 1) % len(LABEL_CLASSES["hat"]), -1)
    losses = {}
    for counts in (0.0, 1.0, 3.0):
        judge = StorylandJudge({"scene": 0, "looks": {"hat": counts}})
        losses[counts] = [float(judge(clips.frames, labels, clips.setting).loss.mean()) for labels in
                          (clips.labels, wrong)]  # fmt: skip
    worse = {counts: other - true for counts, (true, other) in losses.items()}
    assert worse[0.0] == pytest.approx(0, abs=1e-5)
    assert worse[3.0] > 1.5 * worse[1.0] > 0


def test_it_is_known_to_training() -> None:
    from storymem.cli.train import register_worlds

    register_worlds()
    assert isinstance(open_judge("storyland", {}), StorylandJudge)


def test_where_heads_are_can_be_learned_from(of_heroes: StorylandJudge, clips: Clips) -> None:
    """What was found is found again, in cells that have gradients: a jump is told by them."""
    network = of_heroes._network
    pictures = clips.frames[:2, :, :5].transpose(1, 2).clone().requires_grad_()
    maps = network.look(pictures.flatten(0, 1))[0].unflatten(0, (2, 5))
    finds = [[find_heads(frame)[0] for frame in one] for one in maps.detach().numpy()]
    boxes = torch.tensor(np.array(finds))
    again = _with_gradients(boxes, maps)
    torch.testing.assert_close(again, boxes)
    assert again.requires_grad
