from __future__ import annotations

import numpy as np
import pytest

from storymem.errors import MediaError
from storymem.media import from_uint8, resize_frame, to_uint8


def test_every_byte_survives_the_way_through_float():
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    frame = from_uint8(pixels)
    assert frame.dtype == np.float32
    assert frame.shape == (3, 16, 16)
    assert frame.min() == -1
    assert frame.max() == 1
    assert np.array_equal(to_uint8(frame), pixels)


def test_to_uint8_rounds_clips_and_takes_whole_shots():
    frames = np.full((2, 3, 4, 5), 0.5, np.float32)
    frames[0, 0] = 7.0
    frames[0, 1] = -7.0
    frames[1, 2, 0, 0] = 0.0
    out = to_uint8(frames)
    assert out.shape == (2, 4, 5, 3)
    assert out[0, 0, 0].tolist() == [255, 0, 191]
    assert out[1, 0, 0].tolist() == [191, 191, 128]


def test_nan_is_refused():
    frame = np.zeros((3, 4, 4), np.float32)
    frame[1, 2, 3] = np.nan
    with pytest.raises(MediaError, match="NaN"):
        to_uint8(frame)


def test_resize_to_the_same_size_is_a_bit_exact_copy():
    frame = np.random.default_rng(0).standard_normal((3, 20, 30)).astype(np.float32)
    out = resize_frame(frame, 30, 20)
    assert np.array_equal(out, frame)
    assert not np.shares_memory(out, frame)


@pytest.mark.parametrize(("width", "height"), [(32, 32), (64, 16), (17, 61), (200, 100), (1, 1)])
def test_resize_gives_the_size_and_the_range(width: int, height: int):
    frame = np.random.default_rng(1).uniform(-1, 1, (3, 48, 80)).astype(np.float32)
    out = resize_frame(frame, width, height)
    assert out.shape == (3, height, width)
    assert out.dtype == np.float32
    assert out.min() >= -1
    assert out.max() <= 1


def test_resize_keeps_the_shape_of_things_and_cuts_equally_on_both_sides():
    wide = np.full((3, 20, 60), -1, np.float32)
    wide[:, :, 20:40] = 1  # the middle third is white
    assert np.allclose(resize_frame(wide, 20, 20), 1)
    ramp = np.broadcast_to(np.linspace(-1, 1, 60, dtype=np.float32), (3, 20, 60))
    out = resize_frame(np.ascontiguousarray(ramp), 20, 20)
    assert np.allclose(out, -out[:, :, ::-1], atol=1e-5)  # what is left is symmetric
    tall = np.ascontiguousarray(np.swapaxes(wide, 1, 2))
    assert np.allclose(resize_frame(tall, 20, 20), 1)


def test_resize_is_antialiased():
    checker = np.indices((64, 64)).sum(axis=0) % 2 * 2.0 - 1
    frame = np.broadcast_to(checker, (3, 64, 64)).astype(np.float32)
    assert np.abs(resize_frame(frame, 16, 16)[:, 3:-3, 3:-3]).max() < 0.05  # grey, not some of the squares


def test_resize_computes_in_float():
    frame = np.full((3, 16, 16), 0.123456, np.float32)
    assert np.allclose(resize_frame(frame, 32, 32), 0.123456, atol=1e-6)


def test_resize_to_nothing_is_refused():
    with pytest.raises(MediaError, match="at least 1"):
        resize_frame(np.zeros((3, 4, 4), np.float32), 0, 4)
