from __future__ import annotations

from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from storymem.errors import SettingsError
from storymem.training.plan import GroupTable, plan_batch, plan_memory
from storymem.training.sections import AugmentSection, ConditioningSection

TABLE = GroupTable(groups=(3, 8, 9), sizes=(4, 5, 2), keyframes=3, variants=2)
CONFIG = ConditioningSection(max_memory=6, motion_frames=0.2)


def test_a_batch_is_a_function_of_seed_step_and_part() -> None:
    def batch(seed: int, step: int, part: int) -> object:
        return plan_batch(seed, step, part, table=TABLE, config=CONFIG, batch=8)

    assert batch(1, 2, 0) == batch(1, 2, 0)
    assert len({repr(batch(*place)) for place in ((1, 2, 0), (1, 2, 1), (1, 3, 0), (2, 2, 0))}) == 4


@pytest.mark.parametrize("world_size", [2, 4])
def test_processes_share_out_what_one_would_draw(world_size: int) -> None:
    alone = plan_batch(5, 7, 0, table=TABLE, config=CONFIG, batch=8)
    shares = [
        plan_batch(5, 7, 0, table=TABLE, config=CONFIG, batch=8, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    assert {share.num_memory for share in shares} == {alone.num_memory}
    together = [sample for share in shares for sample in share.samples]
    assert Counter(map(repr, together)) == Counter(map(repr, alone.samples))


def test_memory_is_of_other_clips_and_stands_in_runs() -> None:
    for number in range(200):
        rng = Random(number)
        slots = plan_memory(rng, TABLE, 1, 2, 8, 0.5)
        assert len(slots) == len({(slot.clip, slot.keyframe) for slot in slots}) == 8
        assert 2 not in {slot.clip for slot in slots}
        clips = [slot.clip for slot in slots]
        assert len([1 for a, b in pairwise(clips) if a != b]) == len(set(clips)) - 1
        for clip in set(clips):
            keyframes = [slot.keyframe for slot in slots if slot.clip == clip]
            assert keyframes == sorted(keyframes)


def test_a_clip_that_shows_the_subject_is_in_memory() -> None:
    table = GroupTable((8,), (6,), 3, 0, subjects=lambda group, clip: [[(clip + 2) % 6]] if group == 8 else [])
    alone = {plan_memory(Random(n), table, 0, 1, 1, 0.0)[0].clip for n in range(50)}
    assert alone == {3}
    four = [{slot.clip for slot in plan_memory(Random(n), table, 0, 1, 4, 0.0)} for n in range(50)]
    assert all(3 in clips for clips in four)
    assert set().union(*four) == {0, 2, 3, 4, 5}


def test_two_subjects_are_remembered_together_or_each_alone() -> None:
    shows = {1: {3, 4}, 2: {4, 5}}  # clip 4 shows both
    table = GroupTable((8,), (6,), 3, 0, subjects=lambda group, clip: [sorted(shows[1]), sorted(shows[2])])
    one = {plan_memory(Random(n), table, 0, 0, 1, 0.0)[0].clip for n in range(50)}
    assert one == {4}, "with room for one keyframe it shows both"
    two = [{slot.clip for slot in plan_memory(Random(n), table, 0, 0, 2, 0.0)} for n in range(200)]
    assert all(clips & shows[1] and clips & shows[2] for clips in two)
    apart = sum(clips == {3, 5} for clips in two) / len(two)
    assert 0.1 < apart < 0.6


def test_one_of_two_subjects_is_remembered_where_no_clip_shows_both() -> None:
    table = GroupTable((8,), (4,), 3, 0, subjects=lambda group, clip: [[1], [2]])
    assert {plan_memory(Random(n), table, 0, 0, 1, 0.0)[0].clip for n in range(50)} == {1, 2}
    assert {slot.clip for slot in plan_memory(Random(0), table, 0, 0, 2, 0.0)} == {1, 2}


def test_memory_is_augmented_as_often_as_asked() -> None:
    slots = [s for n in range(400) for s in plan_memory(Random(n), TABLE, 1, 0, 6, 0.25)]
    assert sum(slot.variant > 0 for slot in slots) / len(slots) == pytest.approx(0.25, abs=0.03)
    assert {slot.variant for slot in slots} == {0, 1, 2}


def test_shares_are_as_asked() -> None:
    config = ConditioningSection(
        max_memory=6, drop_memory=0.25, first_frame=0.5, motion_frames=0.2, drop_prompt=0.1, augment=AugmentSection()
    )
    plans = [plan_batch(0, step, 0, table=TABLE, config=config, batch=4) for step in range(800)]
    counts = Counter(plan.num_memory for plan in plans)
    assert counts[0] / 800 == pytest.approx(0.25, abs=0.04)
    for count in range(1, 7):
        assert counts[count] / 800 == pytest.approx(0.125, abs=0.04)
    samples = [sample for plan in plans for sample in plan.samples]
    known = Counter(sample.num_known for sample in samples)
    assert known[1] / len(samples) == pytest.approx(0.5, abs=0.03)
    assert known[5] / len(samples) == pytest.approx(0.2, abs=0.03)
    assert sum(sample.caption is None for sample in samples) / len(samples) == pytest.approx(0.1, abs=0.02)
    # Each clip as often as every other: groups of 4, 5 and 2, where 2 cannot give 4 or more keyframes.
    none = [sample.group for plan in plans if plan.num_memory == 0 for sample in plan.samples]
    assert none.count(8) / len(none) == pytest.approx(5 / 11, abs=0.06)
    assert not any(s.group == 9 for plan in plans if plan.num_memory > 3 for s in plan.samples)


def test_stratified_levels_cover_every_stratum() -> None:
    plan = plan_batch(0, 1, 0, table=TABLE, config=CONFIG, batch=16)
    assert sorted(int(sample.u * 16) for sample in plan.samples) == list(range(16))
    loose = plan_batch(0, 1, 0, table=TABLE, config=CONFIG, batch=16, stratified=False)
    assert sorted(int(sample.u * 16) for sample in loose.samples) != list(range(16))


def test_noise_differs_between_samples_and_steps() -> None:
    seeds = [
        s.noise_seed for step in range(50) for s in plan_batch(0, step, 0, table=TABLE, config=CONFIG, batch=4).samples
    ]
    assert len(set(seeds)) == len(seeds)


def test_too_small_groups_and_uneven_shares_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"no group of related clips has 13 keyframes.*the largest has 12"):
        TABLE.with_memory(13)
    with pytest.raises(SettingsError, match=r"lower sample\.num_memory, or"):
        TABLE.with_memory(13, "sample.num_memory")
    with pytest.raises(SettingsError, match="8 clips at a time cannot be shared out among 3 processes"):
        plan_batch(0, 0, 0, table=TABLE, config=CONFIG, batch=8, world_size=3)
