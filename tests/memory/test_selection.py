from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storymem.memory.selection import drop_repetitions, select_keyframes

CASES_FILE = Path(__file__).parents[1] / "data/reference_cases/keyframe_selection.json"
SHARED_CASES_FILE = Path(__file__).parents[2] / "../shared/reference_cases/keyframe_selection.json"
CASES = json.loads(CASES_FILE.read_text())


def unit(rows: Any) -> np.ndarray:
    rows = np.atleast_2d(np.asarray(rows, dtype=np.float32))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def at_angles(*degrees: float) -> np.ndarray:
    """Unit vectors in a plane: the similarity of two is the cosine of the angle between them."""
    radians = np.deg2rad(degrees)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def by_the_letter(
    embeddings: np.ndarray, quality: Sequence[float] | None, tau: float, step: float, most: int, least: float
) -> tuple[list[int], float]:
    """The method's words, turned into code as plainly as can be: every tau in turn, every frame asked."""
    good = [True] * len(embeddings) if quality is None else [q >= least for q in quality]
    exact = embeddings.astype(np.float64)
    for k in range(10_000):
        now = round(tau - k * step, 10)
        chosen: list[int] = []
        for i in range(len(embeddings)):
            if not good[i]:
                continue
            if not chosen or (i >= 2 and exact[i] @ exact[chosen[-1]] < now):
                chosen.append(i)
        if len(chosen) <= most:
            return chosen, now
    raise AssertionError("no end")


@pytest.mark.parametrize("number", range(len(CASES["cases"])))
def test_reference_case_is_equal(number: int) -> None:
    case = CASES["cases"][number]
    embeddings = np.array(case["embeddings"], dtype=np.float32)
    selection = select_keyframes(
        embeddings,
        np.array(case["quality"], dtype=np.float32),
        similarity_threshold=CASES["similarity_threshold"],
        threshold_step=CASES["threshold_step"],
        max_keyframes=CASES["max_keyframes"],
        quality_threshold=CASES["quality_threshold"],
    )
    assert list(selection.indices) == case["selected"]
    assert selection.threshold == pytest.approx(case["final_threshold"], abs=1e-12)
    bank = np.array(case["bank"], dtype=np.float32).reshape(-1, embeddings.shape[1])
    chosen = embeddings[list(selection.indices)]
    kept = [selection.indices[i] for i in drop_repetitions(chosen, bank, CASES["similarity_threshold"])]
    assert kept == case["kept"]


@pytest.mark.skipif(not SHARED_CASES_FILE.exists(), reason="the full reference cases are not on this machine")
def test_committed_cases_are_the_reference_cases() -> None:
    assert json.loads(SHARED_CASES_FILE.read_text()) == CASES


def test_no_good_frame_gives_no_keyframe() -> None:
    selection = select_keyframes(at_angles(0, 90), np.array([2.99, 0.0]))
    assert selection.indices == ()
    assert selection.threshold == 0.9


def test_no_frames_give_no_keyframe() -> None:
    assert select_keyframes(np.zeros((0, 4), dtype=np.float32), None).indices == ()


def test_quality_at_the_threshold_is_good_enough() -> None:
    assert select_keyframes(at_angles(0), np.array([3.0]), quality_threshold=3.0).indices == (0,)


def test_the_second_keyframe_comes_from_frame_two_on() -> None:
    assert select_keyframes(at_angles(0, 90, 0), None).indices == (0,)
    assert select_keyframes(at_angles(0, 90, 90), None).indices == (0, 2)


def test_a_late_first_keyframe_may_be_followed_at_once() -> None:
    quality = np.array([0.0, 0.0, 0.0, 5.0, 5.0])
    assert select_keyframes(at_angles(0, 0, 0, 0, 90), quality).indices == (3, 4)


def test_similarity_is_taken_to_the_last_keyframe_not_to_the_last_frame() -> None:
    # 10 degrees apart: each frame is like the one before it (0.985), every third has drifted past 0.9 (25.8 degrees).
    assert select_keyframes(at_angles(*range(0, 81, 10)), None, max_keyframes=9).indices == (0, 3, 6)


def test_the_threshold_falls_until_few_enough_are_left() -> None:
    selection = select_keyframes(at_angles(*range(0, 180, 10)), None, max_keyframes=2)
    assert selection.indices == (0, 9)
    assert selection.threshold == pytest.approx(0.17)  # 80 degrees: 0.1736 is not below 0.17


def test_the_threshold_has_no_accumulated_error() -> None:
    selection = select_keyframes(at_angles(0, 0, 90, 0), None, max_keyframes=1)
    assert selection.threshold == 0.0  # 0.9 - 90 * 0.01, where repeated subtraction leaves 6e-16


def test_even_opposite_frames_end_with_one_keyframe() -> None:
    embeddings = unit([[1, 0], [1, 0], [-1, 0], [1, 0], [-1, 0]])
    selection = select_keyframes(embeddings, None, max_keyframes=1)
    assert selection.indices == (0,)
    assert selection.threshold == -1.0


def test_tiny_steps_are_cheap() -> None:
    rng = np.random.default_rng(0)
    embeddings = unit(rng.normal(size=(81, 32)))
    started = time.perf_counter()
    select_keyframes(embeddings, None, threshold_step=1e-7, max_keyframes=1)
    assert time.perf_counter() - started < 1.0  # 19 million thresholds one by one would take hours


shots = st.integers(0, 2**32 - 1).flatmap(
    lambda seed: st.tuples(st.just(seed), st.integers(1, 30), st.floats(0.01, 1.5), st.floats(0, 1))
)


@settings(max_examples=150, deadline=None)
@given(shots, st.integers(1, 5), st.sampled_from([0.01, 0.03, 0.5]), st.booleans())
def test_equals_the_plain_words_of_the_method(
    shot: tuple[int, int, float, float], most: int, step: float, judged: bool
) -> None:
    seed, count, speed, bad = shot
    rng = np.random.default_rng(seed)
    embeddings = unit(np.cumsum(rng.normal(size=(count, 6)) * speed, axis=0) + rng.normal(size=6))
    quality = np.where(rng.random(count) < bad, 1.0, 5.0) if judged else None
    asked: list[int] = []

    def scores(indices: Sequence[int]) -> np.ndarray:
        assert quality is not None
        asked.extend(indices)
        return quality[list(indices)]

    expected, tau = by_the_letter(embeddings, quality, 0.9, step, most, 3.0)
    for given_quality in (quality, scores) if judged else (quality,):
        selection = select_keyframes(embeddings, given_quality, threshold_step=step, max_keyframes=most)
        assert list(selection.indices) == expected
        assert selection.threshold == tau
    assert len(asked) == len(set(asked)), "a frame was scored twice"


def test_only_frames_that_decide_something_are_scored() -> None:
    asked: list[int] = []

    def scores(indices: Sequence[int]) -> np.ndarray:
        asked.extend(indices)
        return np.full(len(indices), 5.0)

    embeddings = at_angles(*[0] * 40, *[60] * 41)
    assert select_keyframes(embeddings, scores).indices == (0, 40)
    assert asked == [0, 40]


def test_after_bad_frames_scores_are_asked_for_in_growing_batches() -> None:
    sizes: list[int] = []

    def scores(indices: Sequence[int]) -> np.ndarray:
        sizes.append(len(indices))
        return np.zeros(len(indices))

    assert select_keyframes(at_angles(*[0] * 81), scores).indices == ()
    assert sizes == [1, 2, 4, 8, 16, 16, 16, 16, 2]


def test_not_a_number_is_an_error_and_no_choice() -> None:
    embeddings = at_angles(0, 90)
    with pytest.raises(ValueError, match="quality of frame 1 is not a number"):
        select_keyframes(embeddings, np.array([0.0, np.nan]))
    embeddings[1, 0] = np.nan
    with pytest.raises(ValueError, match="embedding of frame 1"):
        select_keyframes(embeddings, None)
    with pytest.raises(ValueError, match="embedding of keyframe 1"):
        drop_repetitions(at_angles(0), embeddings)


def test_wrong_shapes_are_an_error() -> None:
    with pytest.raises(ValueError, match="2 frames need 2 scores"):
        select_keyframes(at_angles(0, 90), np.array([5.0]))
    with pytest.raises(ValueError, match="1 frames were to be scored and 2 scores came back"):
        select_keyframes(at_angles(0, 90), lambda _: np.zeros(2))
    with pytest.raises(ValueError, match="count, dimension"):
        select_keyframes(at_angles(0)[0], None)
    with pytest.raises(ValueError, match="max_keyframes"):
        select_keyframes(at_angles(0), None, max_keyframes=0)


def test_repetitions_of_the_bank_are_dropped() -> None:
    bank = at_angles(0, 90)
    assert drop_repetitions(at_angles(20, 45, 100), bank) == (1,)
    assert drop_repetitions(at_angles(20, 45, 100), bank, threshold=0.99) == (0, 1, 2)


def test_a_frame_is_not_compared_with_others_of_its_shot() -> None:
    assert drop_repetitions(at_angles(0, 90, 0), at_angles(180)) == (0, 1, 2)


def test_with_an_empty_bank_everything_is_kept() -> None:
    assert drop_repetitions(at_angles(0, 1), np.zeros((0, 2), dtype=np.float32)) == (0, 1)
    assert drop_repetitions(np.zeros((0, 2), dtype=np.float32), at_angles(0)) == ()
