from __future__ import annotations

import numpy as np
import pytest
from drawn_pictures import blurred, scene, shot

from storymem.memory.builtin import BuiltinEncoder, BuiltinScorer

THRESHOLD = 0.9
SCENES = range(12)


class TestBuiltinEncoder:
    def test_unit_vectors_of_the_said_dimension(self) -> None:
        embeddings = BuiltinEncoder().encode(shot(0, 3))
        assert embeddings.shape == (3, BuiltinEncoder.dimension)
        assert embeddings.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)

    def test_frames_of_one_shot_are_above_the_threshold(self) -> None:
        for seed in SCENES:
            embeddings = BuiltinEncoder().encode(shot(seed))
            assert (embeddings @ embeddings.T).min() > THRESHOLD, seed

    def test_different_shots_are_below_the_threshold(self) -> None:
        embeddings = BuiltinEncoder().encode(np.stack([scene(seed) for seed in SCENES]))
        others = (embeddings @ embeddings.T)[~np.eye(len(embeddings), dtype=bool)]
        assert others.max() < THRESHOLD
        assert np.median(others) < 0.6

    def test_size_hardly_matters(self) -> None:
        small, large = scene(3, size=(120, 208)), scene(3, size=(480, 832))
        first, second = (BuiltinEncoder().encode(frame[None])[0] for frame in (small, large))
        assert first @ second > 0.98

    def test_light_noise_hardly_matters(self) -> None:
        frame = scene(3)
        noisy = frame + np.random.default_rng(0).normal(0, 0.1, frame.shape).astype(np.float32)
        first, second = BuiltinEncoder().encode(np.stack([frame, noisy]))
        assert first @ second > 0.95

    def test_a_frame_does_not_depend_on_the_others(self) -> None:
        frames = shot(1, 5)
        together = BuiltinEncoder().encode(frames)
        alone = np.concatenate([BuiltinEncoder().encode(frame[None]) for frame in frames])
        np.testing.assert_array_equal(together, alone)

    def test_flat_frames_have_a_place_too(self) -> None:
        flat = np.stack([np.full((3, 48, 64), value, dtype=np.float32) for value in (-1.0, 0.0, 1.0)])
        embeddings = BuiltinEncoder().encode(flat)
        np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
        assert (embeddings @ embeddings.T)[0, 2] < 0.1

    def test_values_beyond_the_range_are_clipped(self) -> None:
        white = np.ones((1, 3, 16, 16), dtype=np.float32)
        np.testing.assert_array_equal(BuiltinEncoder().encode(3 * white), BuiltinEncoder().encode(white))

    @pytest.mark.parametrize("size", [(16, 16), (1, 1), (37, 53), (720, 1280)])
    def test_any_size(self, size: tuple[int, int]) -> None:
        assert np.isfinite(BuiltinEncoder().encode(np.zeros((1, 3, *size), dtype=np.float32))).all()

    def test_no_frames(self) -> None:
        assert BuiltinEncoder().encode(np.zeros((0, 3, 8, 8), dtype=np.float32)).shape == (0, BuiltinEncoder.dimension)


class TestBuiltinScorer:
    def accepts(self, frame: np.ndarray) -> bool:
        return bool(BuiltinScorer().score(frame[None].astype(np.float32))[0] >= BuiltinScorer.default_threshold)

    def test_drawn_pictures_are_good_enough(self) -> None:
        for seed in SCENES:
            for size in [(64, 96), (240, 416), (720, 1280)]:
                assert self.accepts(scene(seed, size=size)), (seed, size)

    @pytest.mark.parametrize("value", [-1.0, -0.2, 1.0])
    def test_flat_frames_are_not(self, value: float) -> None:
        assert not self.accepts(np.full((3, 240, 416), value))

    def test_nearly_black_frames_are_not(self) -> None:
        assert not self.accepts(scene(2) * 0.02 - 0.97)

    @pytest.mark.parametrize("deviation", [0.05, 0.3, 1.0])
    def test_pure_noise_is_not(self, deviation: float) -> None:
        assert not self.accepts(np.random.default_rng(0).normal(0, deviation, (3, 240, 416)))

    def test_a_picture_drowned_in_noise_is_not(self) -> None:
        assert not self.accepts(0.2 * scene(2) + np.random.default_rng(0).normal(0, 0.6, (3, 240, 416)))

    def test_heavy_blur_is_not(self) -> None:
        for seed in SCENES:
            assert not self.accepts(blurred(scene(seed, size=(480, 832)), 8)), seed

    def test_scores_fall_with_blur_and_noise(self) -> None:
        frame = scene(5, size=(480, 832))
        noise = np.random.default_rng(0).normal(0, 1, frame.shape)
        for worse in ([blurred(frame, r) for r in (0, 2, 4, 8)], [frame + s * noise for s in (0, 0.5, 1.0, 2.0)]):
            scores = BuiltinScorer().score(np.stack(worse).astype(np.float32))
            assert (np.diff(scores) <= 0).all()
            assert scores[-1] < scores[0]

    def test_scale(self) -> None:
        scores = BuiltinScorer().score(np.stack([scene(seed) for seed in SCENES]))
        assert scores.dtype == np.float32
        assert scores.min() >= 0
        assert scores.max() <= 10

    @pytest.mark.parametrize("size", [(1, 1), (4, 4), (8, 9)])
    def test_tiny_frames(self, size: tuple[int, int]) -> None:
        frame = np.random.default_rng(0).uniform(-1, 1, (1, 3, *size)).astype(np.float32)
        assert np.isfinite(BuiltinScorer().score(frame)).all()
