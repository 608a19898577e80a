"""Every metric on numbers small enough to be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storymem.bench import metrics

SQUARE = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])  # cosines: 0.6, 0.0, 0.8


def test_similarity_is_the_cosine_weighed_by_the_geometric_mean_of_worth() -> None:
    plain = metrics.shot_similarities(SQUARE)
    assert plain[0, 1] == pytest.approx(0.6)
    weighed = metrics.shot_similarities(SQUARE, np.array([0.25, 1.0, 0.0]))
    assert weighed[0, 1] == pytest.approx(0.3)
    assert weighed[1, 2] == 0


def test_consistency_over_all_pairs() -> None:
    assert metrics.consistency_all(metrics.shot_similarities(SQUARE)) == pytest.approx((0.6 + 0 + 0.8) / 3)
    assert metrics.consistency_all(np.ones((1, 1))) is None


def test_consistency_over_the_pairs_with_the_most_alike_prompts() -> None:
    similarity = metrics.shot_similarities(SQUARE)
    prompts = np.array([[1, 0.9, 0.1], [0.9, 1, 0.2], [0.1, 0.2, 1]])
    assert metrics.consistency_top(similarity, prompts, 1) == pytest.approx(0.6)
    assert metrics.consistency_top(similarity, prompts, 2) == pytest.approx(0.7)
    assert metrics.consistency_top(similarity, prompts, 10) == metrics.consistency_all(similarity)


def test_tied_prompts_share_the_places_that_are_left() -> None:
    similarity = metrics.shot_similarities(SQUARE)
    prompts = np.array([[1, 0.9, 0.5], [0.9, 1, 0.5], [0.5, 0.5, 1]])
    assert metrics.consistency_top(similarity, prompts, 2) == pytest.approx((0.6 + (0.0 + 0.8) / 2) / 2)


def test_within_and_across_scenes() -> None:
    similarity = metrics.shot_similarities(SQUARE)
    assert metrics.within_scene(similarity, [1, 1, 2]) == pytest.approx(0.6)
    assert metrics.across_scenes(similarity, [1, 1, 2]) == pytest.approx(0.4)
    assert metrics.within_scene(similarity, [1, 2, 3]) is None
    assert metrics.across_scenes(similarity, [1, 1, 1]) is None


def test_character_consistency_is_the_mean_over_characters_not_over_pairs() -> None:
    similarity = metrics.shot_similarities(SQUARE)
    shown = [{"Ida"}, {"Ida", "Bo"}, {"Ida", "Bo"}]
    assert metrics.character_consistency(similarity, shown) == pytest.approx(((0.6 + 0 + 0.8) / 3 + 0.8) / 2)
    assert metrics.character_consistency(similarity, [{"Ida"}, {"Bo"}, set()]) is None


def test_attributes_not_read_are_wrong() -> None:
    expected = [{"hat": "cap", "bag": None}, {"hat": "cap"}]
    read = [{"hat": "cap", "bag": None}, {}]
    assert metrics.attribute_agreement(expected, read) == pytest.approx(2 / 3)
    assert metrics.attribute_agreement(expected, read, [["hat"], []]) == 1
    assert metrics.attribute_agreement(expected, [{}, {}], [["bag"], []]) == 0  # not read is not "wears none"
    assert metrics.attribute_agreement([], []) is None


def test_prompt_following_pairs_each_video_with_its_text() -> None:
    assert metrics.prompt_following(SQUARE, SQUARE[[0, 0, 2]]) == pytest.approx([1, 0.6, 1])


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, 2, 3, 9, 16)).astype(np.float32)


def test_a_copy_is_seen_through_brightness_and_contrast() -> None:
    small = pictures(3)
    small[2, 1] = 0.5 * small[0, 0] + 0.1
    likeness = metrics.pixel_likeness(small)
    assert likeness[0, 2] == pytest.approx(1)
    assert likeness[0, 1] < 0.2
    assert np.allclose(likeness, likeness.T)


def test_a_blank_shot_is_like_other_blank_shots_only() -> None:
    small = pictures(3)
    small[0], small[1] = 0.2, 0.8
    likeness = metrics.pixel_likeness(small)
    assert likeness[0, 1] == 1
    assert likeness[0, 2] == likeness[1, 2] == 0


def test_diversity_looks_at_the_most_alike_other_shot() -> None:
    likeness = np.array([[1, 0.9, 0.2], [0.9, 1, 0.4], [0.2, 0.4, 1]])
    assert metrics.diversity(likeness, np.ones(3)) == pytest.approx((0.1 + 0.1 + 0.6) / 3)
    assert metrics.diversity(likeness, np.array([1, 1, 0])) == pytest.approx((0.1 + 0.1 + 0) / 3)
    assert metrics.diversity(np.ones((1, 1)), np.ones(1)) is None


def test_a_shot_may_be_like_the_one_it_continues() -> None:
    likeness = np.array([[1, 0.9, 0.2], [0.9, 1, 0.4], [0.2, 0.4, 1]])
    assert metrics.diversity(likeness, np.ones(3), [(0, 1)]) == pytest.approx((0.8 + 0.6 + 0.6) / 3)
    assert metrics.diversity(np.ones((2, 2)), np.ones(2), [(0, 1)]) is None


def test_balance_pays_for_consistency_without_copies() -> None:
    assert metrics.balance(0.6, 0.5) == 0.6
    assert metrics.balance(1.0, 0.0) == 0
    assert metrics.balance(0.6, metrics.VARIED_ENOUGH / 2) == pytest.approx(0.3)
    assert metrics.balance(None, 0.5) is None


def test_similarity_by_distance_and_drift() -> None:
    similarity = np.array([[1, 0.8, 0.5], [0.8, 1, 0.6], [0.5, 0.6, 1]])
    assert metrics.similarity_by_distance(similarity) == pytest.approx((0.7, 0.5))
    assert metrics.end_similarity(similarity) == pytest.approx(0.5)
    assert metrics.drift(similarity) == pytest.approx(0.2)
    assert metrics.drift(np.ones((2, 2))) is None


def moving(start: float, count: int = 5, step: float = 0.02) -> np.ndarray:
    """A ramp that brightens by `step` a frame."""
    ramp = np.linspace(0, 0.3, 16, dtype=np.float32)[None, None, None] * np.ones((count, 3, 9, 1), np.float32)
    return ramp + (start + step * np.arange(count, dtype=np.float32))[:, None, None, None]


def test_a_join_that_goes_on_as_before_is_smooth() -> None:
    assert metrics.join_smoothness(moving(0.1), moving(0.2)) == pytest.approx(1)
    assert metrics.join_smoothness(moving(0.1), moving(0.2), worth=0.5) == pytest.approx(0.5)


def test_the_further_a_join_jumps_the_worse_it_is() -> None:
    scores = [metrics.join_smoothness(moving(0.1), moving(0.2 + jump)) for jump in (0, 0.05, 0.1, 0.3)]
    assert scores == sorted(scores, reverse=True)
    assert scores[1] == pytest.approx(0.02 / 0.07, rel=1e-3)  # pixels and means jump alike, deviations stay


def test_still_shots_join_by_less_than_a_level_of_eight_bits() -> None:
    still = moving(0.2, step=0)
    assert metrics.join_smoothness(still, still + 0.5 / 255) == pytest.approx(1)


def test_words_say_which_prompts_are_alike() -> None:
    similarity = metrics.word_similarities(["Ida walks in the forest.", "Ida runs in the forest!", "A lamp burns."])
    assert similarity[0, 1] > 0.4
    assert similarity[0, 2] == 0
    assert np.diagonal(similarity) == pytest.approx([1, 1, 1])
    assert metrics.word_similarities(["", "a"])[0, 1] == 0


@given(st.integers(2, 7), st.integers(0, 2**32 - 1))
def test_the_order_of_shots_does_not_matter_where_it_should_not(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    embeddings = rng.normal(size=(count, 5))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    worth = rng.uniform(size=count)
    similarity = metrics.shot_similarities(embeddings, worth)
    mixed = similarity[np.ix_(order, order)]
    prompts = rng.integers(0, 3, (count, count)) / 3
    prompts = (prompts + prompts.T) / 2
    scenes = rng.integers(0, 3, count)
    shown = [set(np.array(["a", "b"])[rng.uniform(size=2) < 0.6].tolist()) for _ in range(count)]
    likeness = rng.uniform(size=(count, count))
    likeness = (likeness + likeness.T) / 2

    def same(one: float | None, other: float | None) -> bool:
        return one == other or (one is not None and other is not None and abs(one - other) < 1e-9)

    assert same(metrics.consistency_all(similarity), metrics.consistency_all(mixed))
    assert same(
        metrics.consistency_top(similarity, prompts, 4),
        metrics.consistency_top(mixed, prompts[np.ix_(order, order)], 4),
    )
    assert same(metrics.within_scene(similarity, scenes), metrics.within_scene(mixed, scenes[order]))
    assert same(metrics.across_scenes(similarity, scenes), metrics.across_scenes(mixed, scenes[order]))
    assert same(
        metrics.character_consistency(similarity, shown),
        metrics.character_consistency(mixed, [shown[i] for i in order]),
    )
    assert same(metrics.diversity(likeness, worth), metrics.diversity(likeness[np.ix_(order, order)], worth[order]))
