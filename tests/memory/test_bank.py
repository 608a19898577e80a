from __future__ import annotations

import dataclasses
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storymem.errors import SettingsError
from storymem.memory.bank import Keyframe, MemoryBank, MemoryPolicy, frame_id
from storymem.settings import MemoryConfig

EMBEDDING = np.array([1, 0], dtype=np.float32)


def keyframe(number: int, shot: int | None = 0, frame: int | None = 0, size: tuple[int, int] = (2, 3)) -> Keyframe:
    pixels = np.full((3, *size), number / 1000, dtype=np.float32)
    if shot is None:
        return Keyframe.from_pixels(pixels, EMBEDDING, label=f"reference {number}")
    return Keyframe.from_pixels(
        pixels, EMBEDDING, quality=4.0, shot_id=f"01-{shot:02}", shot_index=shot, frame_index=frame
    )


def film(lengths: list[int], references: int = 0) -> tuple[list[Keyframe], list[list[Keyframe]]]:
    """Reference images, and shots with so many keyframes each; all of them different."""
    first = [keyframe(900 + i, None) for i in range(references)]
    number = iter(range(900))
    return first, [[keyframe(next(number), s, 4 * f) for f in range(n)] for s, n in enumerate(lengths)]


def numbers(bank: MemoryBank) -> list[int]:
    return [round(float(k.pixels[0, 0, 0]) * 1000) for k in bank]


class TestKeyframe:
    def test_id_is_the_sha256_of_shape_and_values(self) -> None:
        pixels = np.linspace(-1, 1, 18, dtype=np.float32).reshape(3, 2, 3)
        assert keyframe_of(pixels).id == hashlib.sha256(b"3x2x3:" + pixels.astype("<f4").tobytes()).hexdigest()

    def test_id_depends_on_shape_and_on_every_bit(self) -> None:
        pixels = np.zeros((3, 2, 3), dtype=np.float32)
        other = pixels.copy()
        other[2, 1, 2] = np.nextafter(np.float32(0), np.float32(1))
        ids = {frame_id(pixels), frame_id(pixels.reshape(3, 3, 2)), frame_id(other)}
        assert len(ids) == 3

    def test_id_does_not_depend_on_memory_layout(self) -> None:
        pixels = np.arange(18, dtype=np.float32).reshape(3, 2, 3)
        assert frame_id(np.asfortranarray(pixels)) == frame_id(pixels)
        assert frame_id(pixels.astype(">f4")) == frame_id(pixels)

    def test_arrays_are_private_and_read_only(self) -> None:
        shot = np.zeros((5, 3, 2, 3), dtype=np.float32)
        made = keyframe_of(shot[1])
        shot[:] = 7
        assert not made.pixels.any()
        with pytest.raises(ValueError, match="read-only"):
            made.pixels[0, 0, 0] = 1
        with pytest.raises(ValueError, match="read-only"):
            made.embedding[0] = 1
        with pytest.raises(dataclasses.FrozenInstanceError):
            made.label = "x"  # type: ignore[misc]

    def test_a_frozen_view_of_something_writable_is_copied(self) -> None:
        pixels = np.zeros((3, 2, 3), dtype=np.float32)
        view = pixels[:]
        view.setflags(write=False)
        made = keyframe_of(view)
        pixels[:] = 7
        assert not made.pixels.any()

    def test_equal_by_value(self) -> None:
        assert keyframe(1) == keyframe(1)
        assert hash(keyframe(1)) == hash(keyframe(1))
        assert keyframe(1) != keyframe(2)
        assert keyframe(1, 0) != keyframe(1, 1)
        assert keyframe(1) != "keyframe"

    @pytest.mark.parametrize("shape", [(2, 3), (4, 2, 3), (3, 0, 3), (1, 3, 2, 3)])
    def test_pixels_of_another_shape_are_refused(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=r"\[3, H, W\]"):
            keyframe_of(np.zeros(shape, dtype=np.float32))

    @pytest.mark.parametrize("embedding", [[2.0, 0.0], [0.0, 0.0], [np.nan, 1.0], [[1.0, 0.0]]])
    def test_an_embedding_that_is_no_unit_vector_is_refused(self, embedding: list[float]) -> None:
        with pytest.raises(ValueError, match="unit norm"):
            Keyframe.from_pixels(np.zeros((3, 2, 3), dtype=np.float32), np.array(embedding, dtype=np.float32))

    def test_half_a_place_is_refused(self) -> None:
        with pytest.raises(ValueError, match="or none of them"):
            Keyframe.from_pixels(np.zeros((3, 2, 3), dtype=np.float32), EMBEDDING, shot_id="01-01")


def keyframe_of(pixels: np.ndarray) -> Keyframe:
    return Keyframe.from_pixels(pixels, EMBEDDING, shot_id="01-01", shot_index=0, frame_index=0)


class TestMemoryBank:
    def test_sizes_may_differ(self) -> None:
        bank = MemoryBank((keyframe(1, None, size=(4, 4)), keyframe(2, 0, 0, size=(2, 3)), keyframe(3, 1, 0, (8, 2))))
        assert [frame.shape for frame in bank.frames] == [(3, 4, 4), (3, 2, 3), (3, 8, 2)]
        assert bank.embeddings(2).shape == (3, 2)

    def test_empty(self) -> None:
        assert len(MemoryBank()) == 0
        assert MemoryBank().embeddings(5).shape == (0, 5)
        assert MemoryBank().frames == ()

    def test_nothing_twice(self) -> None:
        with pytest.raises(ValueError, match="twice"):
            MemoryBank((keyframe(1, 0), keyframe(1, 1)))

    def test_order_of_time(self) -> None:
        for wrong in [(keyframe(1, 1), keyframe(2, 0)), (keyframe(1, 0), keyframe(2, None))]:
            with pytest.raises(ValueError, match="order of time"):
                MemoryBank(wrong)
        with pytest.raises(ValueError, match="order of time"):
            MemoryBank((keyframe(1, 0, 8), keyframe(2, 0, 4)))

    def test_embeddings_of_another_encoder(self) -> None:
        with pytest.raises(SettingsError, match="another frame encoder"):
            MemoryBank((keyframe(1),)).embeddings(512)

    def test_equal_by_value(self) -> None:
        assert MemoryBank((keyframe(1), keyframe(2))) == MemoryBank((keyframe(1), keyframe(2)))


class TestMemoryPolicy:
    def test_sink_and_recent(self) -> None:
        policy = MemoryPolicy(capacity=5, sink=2)
        _, shots = film([3, 3, 3])
        bank = MemoryBank()
        seen = []
        for shot in shots:
            bank = policy.update(bank, shot)
            seen.append(numbers(bank))
        assert seen == [[0, 1, 2], [0, 1, 3, 4, 5], [0, 1, 6, 7, 8]]

    def test_a_shot_without_keyframes_leaves_the_bank_as_it_is(self) -> None:
        bank = MemoryBank((keyframe(1),))
        assert MemoryPolicy().update(bank, ()) == bank

    def test_capacity_zero_switches_memory_off(self) -> None:
        references, shots = film([3], references=2)
        policy = MemoryPolicy(capacity=0, sink=0)
        bank = policy.start(references)
        assert bank == MemoryBank()
        assert policy.update(bank, shots[0]) == MemoryBank()

    def test_sink_of_the_whole_capacity_never_changes_once_full(self) -> None:
        _, shots = film([3, 3])
        policy = MemoryPolicy(capacity=3, sink=3)
        bank = policy.update(MemoryBank(), shots[0])
        assert policy.update(bank, shots[1]) == bank

    def test_references_take_the_places_of_the_sink(self) -> None:
        references, shots = film([2, 2], references=2)
        policy = MemoryPolicy(capacity=4, sink=3)
        bank = policy.start(references)
        for shot in shots:
            bank = policy.update(bank, shot)
        assert numbers(bank) == [900, 901, 0, 3]

    def test_references_beyond_the_sink_make_room_unless_pinned(self) -> None:
        references, shots = film([3], references=3)
        assert numbers(update_all(MemoryPolicy(4, 1), references, shots)) == [900, 0, 1, 2]
        pinned = MemoryPolicy(4, 1, pinned=frozenset({references[2].id}))
        assert numbers(update_all(pinned, references, shots)) == [900, 902, 1, 2]

    def test_more_references_than_places(self) -> None:
        references, _ = film([], references=3)
        with pytest.raises(SettingsError, match=r"3 reference images .* 2 places: give fewer or raise"):
            MemoryPolicy(2, 1).start(references)
        assert len(MemoryPolicy(2, 1, banned=frozenset({references[0].id})).start(references)) == 2

    def test_the_same_reference_twice_counts_once(self) -> None:
        reference = keyframe(1, None)
        assert numbers(MemoryPolicy(1, 1).start([reference, reference])) == [1]

    def test_a_frame_of_the_film_is_no_reference(self) -> None:
        with pytest.raises(ValueError, match="reference images"):
            MemoryPolicy().start([keyframe(1, 0)])

    def test_more_pins_than_places(self) -> None:
        with pytest.raises(SettingsError, match=r"2 keyframes are pinned .* unpin some or raise"):
            MemoryPolicy(1, 0, pinned=frozenset({"a", "b"}))

    def test_pinned_and_banned(self) -> None:
        with pytest.raises(SettingsError, match="both pinned and banned"):
            MemoryPolicy(pinned=frozenset({"a"}), banned=frozenset({"a"}))

    @pytest.mark.parametrize(("capacity", "sink"), [(-1, 0), (2, 3), (2, -1)])
    def test_numbers_out_of_range(self, capacity: int, sink: int) -> None:
        with pytest.raises(SettingsError, match="memory"):
            MemoryPolicy(capacity, sink)

    def test_pins_win_over_the_sink(self) -> None:
        _, shots = film([5])
        pinned = frozenset(k.id for k in shots[0][3:])
        assert numbers(MemoryPolicy(3, 3, pinned=pinned).update(MemoryBank(), shots[0])) == [0, 3, 4]

    def test_a_ban_takes_effect_on_what_is_there(self) -> None:
        _, shots = film([3])
        bank = MemoryPolicy().update(MemoryBank(), shots[0])
        banned = MemoryPolicy(banned=frozenset({shots[0][1].id}))
        assert numbers(banned.update(bank, ())) == [0, 2]
        assert len(bank) == 3

    def test_forget_keeps_references_and_pins(self) -> None:
        references, shots = film([2, 2], references=1)
        policy = MemoryPolicy(5, 2, pinned=frozenset({shots[0][1].id}))
        bank = policy.forget(update_all(policy, references, shots))
        assert numbers(bank) == [900, 1]
        assert MemoryPolicy(banned=frozenset({references[0].id})).forget(bank) == MemoryBank()

    def test_after_forgetting_the_sink_fills_again(self) -> None:
        _, shots = film([2, 2, 2, 2])
        policy = MemoryPolicy(3, 1)
        bank = policy.forget(update_all(policy, [], shots[:2]))
        for shot in shots[2:]:
            bank = policy.update(bank, shot)
        assert numbers(bank) == [4, 6, 7]

    def test_view_refuses_the_shot_itself_and_the_future(self) -> None:
        bank = MemoryBank((keyframe(1, None), keyframe(2, 0), keyframe(3, 2)))
        assert MemoryPolicy().view(bank, 3) == bank.keyframes
        for shot in (0, 1, 2):
            with pytest.raises(ValueError, match="or of a later one"):
                MemoryPolicy().view(bank, shot)

    def test_older_keyframes_cannot_come_later(self) -> None:
        with pytest.raises(ValueError, match="order of time"):
            MemoryPolicy(1, 0).update(MemoryBank((keyframe(1, 5),)), [keyframe(2, 4)])

    def test_from_config(self) -> None:
        policy = MemoryPolicy.from_config(MemoryConfig(capacity=4, sink=1), pinned=["a"], banned=["b"])
        assert policy == MemoryPolicy(4, 1, frozenset({"a"}), frozenset({"b"}))


def update_all(policy: MemoryPolicy, references: list[Keyframe], shots: list[list[Keyframe]]) -> MemoryBank:
    bank = policy.start(references)
    for shot in shots:
        bank = policy.update(bank, shot)
    return bank


@st.composite
def films(draw: st.DrawFn) -> tuple[MemoryPolicy, list[Keyframe], list[list[Keyframe]]]:
    capacity = draw(st.integers(0, 8))
    references, shots = film(
        draw(st.lists(st.integers(0, 4), max_size=6)), references=draw(st.integers(0, min(3, capacity)))
    )
    ids = [k.id for k in references] + [k.id for shot in shots for k in shot]
    marked = draw(st.lists(st.sampled_from(ids), unique=True, max_size=capacity)) if ids else []
    split = draw(st.integers(0, len(marked)))
    policy = MemoryPolicy(
        capacity, draw(st.integers(0, capacity)), frozenset(marked[:split]), frozenset(marked[split:])
    )
    return policy, references, shots


@settings(max_examples=200, deadline=None)
@given(films())
def test_invariants(example: tuple[MemoryPolicy, list[Keyframe], list[list[Keyframe]]]) -> None:
    policy, references, shots = example
    bank = policy.start(references)
    banks = [bank]
    for index, shot in enumerate(shots):
        before = bank.keyframes
        assert policy.view(bank, index) == before
        after = policy.update(bank, shot)
        assert bank.keyframes == before, "the bank was changed in place"
        assert policy.update(bank, shot) == after, "not deterministic"
        assert policy.update(after, ()) == after, "an update without news changes something"
        bank = after
        banks.append(bank)

    everything = [k for k in (*references, *(k for shot in shots for k in shot)) if k.id not in policy.banned]
    seen: list[Keyframe] = []
    for bank, new in zip(banks, [references, *shots], strict=True):
        seen += [k for k in new if k.id not in policy.banned]
        assert len(bank) == min(policy.capacity, len(seen))
        assert len(set(bank.ids)) == len(bank)
        assert [k.order for k in bank] == sorted(k.order for k in bank)
        assert not policy.banned & set(bank.ids)
        pins = [k.id for k in seen if k.id in policy.pinned]
        sink = [k.id for k in seen[: policy.sink]]
        assert set(pins) <= set(bank.ids)
        if len({*pins, *sink}) <= policy.capacity:
            assert set(sink) <= set(bank.ids)
        recent = [k.id for k in seen if k.id not in {*pins, *sink}]
        room = max(policy.capacity - len({*pins, *sink}), 0)
        assert set(bank.ids) - {*pins, *sink} == set(recent[len(recent) - min(room, len(recent)) :])
    if references or shots:
        assert banks[-1] == policy.update(MemoryBank(), everything), "shot by shot differs from all at once"
