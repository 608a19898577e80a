from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from drawn_pictures import blurred, scene, shot

from storymem.errors import ModelError, SettingsError
from storymem.memory import (
    AestheticScorer,
    FloatArray,
    FrameEncoder,
    Keyframe,
    MemoryBank,
    MemoryPolicy,
    choose_keyframes,
    encode_references,
    select_keyframes,
)
from storymem.memory.builtin import BuiltinEncoder, BuiltinScorer
from storymem.settings import MemoryConfig


@dataclass
class Counted:
    """The built-in encoder and scorer, and how many frames each call was about."""

    encoded: list[int] = field(default_factory=list)
    scored: list[int] = field(default_factory=list)
    name: str = "counted"
    identity: str = "counted"
    dimension: int = BuiltinEncoder.dimension
    default_threshold: float = BuiltinScorer.default_threshold

    def encode(self, frames: FloatArray) -> FloatArray:
        self.encoded.append(len(frames))
        return BuiltinEncoder().encode(frames)

    def score(self, frames: FloatArray) -> FloatArray:
        self.scored.append(len(frames))
        return BuiltinScorer().score(frames)


def choose(
    frames: FloatArray,
    bank: MemoryBank | None = None,
    *,
    encoder: FrameEncoder | None = None,
    scorer: AestheticScorer | None = None,
    index: int = 0,
    **settings: float | int,
) -> tuple[Keyframe, ...]:
    return choose_keyframes(
        frames,
        encoder=encoder or BuiltinEncoder(),
        scorer=scorer,
        config=MemoryConfig(**settings),  # type: ignore[arg-type]
        bank=bank or MemoryBank(),
        shot_id=f"01-{index + 1:02}",
        shot_index=index,
    )


def cut_film(*seeds: int, count: int = 8) -> FloatArray:
    return np.concatenate([shot(seed, count, size=(120, 208)) for seed in seeds])


def test_keyframes_say_where_they_come_from_and_have_the_pixels_bit_for_bit() -> None:
    frames = cut_film(0, 1)
    keyframes = choose(frames, scorer=BuiltinScorer(), index=4)
    assert [k.frame_index for k in keyframes] == [0, 8]
    for keyframe in keyframes:
        assert (keyframe.shot_id, keyframe.shot_index) == ("01-05", 4)
        assert keyframe.frame_index is not None
        np.testing.assert_array_equal(keyframe.pixels, frames[keyframe.frame_index])
        np.testing.assert_array_equal(
            keyframe.embedding, BuiltinEncoder().encode(frames[keyframe.frame_index][None])[0]
        )
        assert keyframe.quality == pytest.approx(float(BuiltinScorer().score(keyframe.pixels[None])[0]))


def test_every_frame_is_encoded_once_in_one_call_whatever_the_number_of_thresholds() -> None:
    counted = Counted()
    frames = cut_film(*range(10), count=4)  # ten scenes: tau has to fall far
    keyframes = choose(frames, encoder=counted, scorer=counted)
    assert counted.encoded == [40]
    assert len(keyframes) <= 3
    selection = select_keyframes(BuiltinEncoder().encode(frames), BuiltinScorer().score(frames))
    assert selection.threshold < 0.85, "the example does not make the threshold fall"
    assert [k.frame_index for k in keyframes] == list(selection.indices)


def test_scores_are_asked_for_only_where_they_decide() -> None:
    counted = Counted()
    keyframes = choose(cut_film(0, 1, count=40), encoder=counted, scorer=counted)
    assert [k.frame_index for k in keyframes] == [0, 40]
    assert counted.scored == [1, 1]


def test_bad_frames_are_passed_over() -> None:
    frames = shot(0, 6)
    frames[0] = -1
    frames[1] = blurred(frames[1], 30)
    keyframes = choose(frames, scorer=BuiltinScorer())
    assert [k.frame_index for k in keyframes] == [2]


def test_a_shot_without_a_good_frame_adds_nothing() -> None:
    black = np.full((9, 3, 120, 208), -1, dtype=np.float32)
    assert choose(black, scorer=BuiltinScorer()) == ()
    bank = MemoryBank(choose(cut_film(0)))
    assert MemoryPolicy().update(bank, choose(black, bank, scorer=BuiltinScorer(), index=1)) == bank


def test_without_a_scorer_every_frame_is_good_enough() -> None:
    black = np.full((9, 3, 120, 208), -1, dtype=np.float32)
    keyframes = choose(black)
    assert [(k.frame_index, k.quality) for k in keyframes] == [(0, None)]


def test_the_quality_threshold_can_be_set() -> None:
    frames = cut_film(0)
    assert choose(frames, scorer=BuiltinScorer(), quality_threshold=10.5) == ()
    assert len(choose(frames, scorer=BuiltinScorer(), quality_threshold=0.0)) == 1


def test_what_the_bank_has_is_not_added_again() -> None:
    bank = MemoryBank(choose(cut_film(0)))
    keyframes = choose(cut_film(0, 1), bank, index=1)
    assert [k.frame_index for k in keyframes] == [8]
    assert choose(cut_film(0), bank, index=1) == ()


def test_a_bank_of_mixed_sizes() -> None:
    references = encode_references([scene(0, size=(240, 416)), scene(1, size=(64, 64))], encoder=BuiltinEncoder())
    bank = MemoryPolicy().start(references)
    assert [frame.shape for frame in bank.frames] == [(3, 240, 416), (3, 64, 64)]
    keyframes = choose(cut_film(0, 2), bank)
    assert [k.frame_index for k in keyframes] == [8], "frame 0 shows what the larger reference shows"
    assert len(MemoryPolicy().update(bank, keyframes)) == 3


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_short_shots(count: int) -> None:
    assert [k.frame_index for k in choose(shot(0, count))] == [0]


def test_capacity_zero_encodes_nothing() -> None:
    counted = Counted()
    assert choose(cut_film(0), encoder=counted, scorer=counted, capacity=0, sink=0) == ()
    assert counted.encoded == counted.scored == []


def test_an_overflowed_frame_is_named() -> None:
    frames = shot(0, 4)
    frames[2, 0, 5, 5] = np.nan
    with pytest.raises(ModelError, match=r"shot 01-01, frame 2: .* run it in bfloat16 or float32"):
        choose(frames)
    frames[2, 0, 5, 5] = np.inf
    with pytest.raises(ModelError, match="frame 2"):
        choose(frames)


def test_a_bank_of_another_encoder() -> None:
    pixels = np.zeros((3, 8, 8), dtype=np.float32)
    bank = MemoryBank((Keyframe.from_pixels(pixels, np.array([1, 0], dtype=np.float32), label="anna.png"),))
    with pytest.raises(SettingsError, match=r"anna\.png was encoded by another frame encoder"):
        choose(shot(0, 2), bank)


def test_references_are_labelled_and_not_scored() -> None:
    references = encode_references([scene(0), scene(1)], encoder=BuiltinEncoder(), labels=["anna", "tom"])
    assert [(k.label, k.quality, k.shot_id) for k in references] == [("anna", None, None), ("tom", None, None)]
    assert encode_references([], encoder=BuiltinEncoder()) == ()
    with pytest.raises(ValueError, match="zip"):
        encode_references([scene(0)], encoder=BuiltinEncoder(), labels=["anna", "tom"])


def test_the_film_as_a_fold() -> None:
    """Shots of new and known scenes, one after another: the bank is what the rules say at every step."""
    policy = MemoryPolicy(capacity=3, sink=1)
    bank = MemoryBank()
    seen = []
    for index, seeds in enumerate([(0,), (1,), (0, 2), (3,), (1,)]):
        bank = policy.update(bank, choose(cut_film(*seeds), bank, scorer=BuiltinScorer(), index=index))
        seen.append([k.shot_index for k in policy.view(bank, index + 1)])
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 2, 3], [0, 3, 4]]
