"""Noise of a batch, each sample from its own seed."""

from __future__ import annotations

import math

import torch

from storymem.training.noise import draw_noise
from storymem.training.seeding import seed_of

SHAPE = (16, 7, 8, 14)


def test_bits_are_those_of_splitmix64() -> None:
    """The first output of seed 0 as published with the reference implementation is 0xE220A8397B1DCDAF."""
    bits = 0xE220A8397B1DCDAF
    radius = math.sqrt(-2 * math.log(((bits & 0xFFFFFFFF) + 0.5) / 2**32))
    angle = 2 * math.pi * ((bits >> 32) - (2**32 if bits >> 63 else 0)) / 2**32
    expected = torch.tensor([radius * math.cos(angle), radius * math.sin(angle)])
    torch.testing.assert_close(draw_noise([0], (2,), "cpu")[0], expected, atol=1e-5, rtol=1e-5)


def test_every_sample_has_the_noise_of_its_seed() -> None:
    seeds = [seed_of("a", i) for i in range(4)] + [2**64 - 1, -5]
    noise = draw_noise(seeds, SHAPE, "cpu")
    assert tuple(noise.shape) == (6, *SHAPE)
    assert noise.dtype == torch.float32
    for seed, own in zip(seeds, noise, strict=True):
        assert torch.equal(draw_noise([seed], SHAPE, "cpu")[0], own)
    assert len({float(own.flatten()[0]) for own in noise}) == 6
    assert tuple(draw_noise([1], (5,), "cpu").shape) == (1, 5)


def test_it_is_normal_and_samples_know_nothing_of_each_other() -> None:
    """Also of seeds that differ in one bit, as those of a clip and its memory do.

    Bounds are 5 standard errors, 6 for the largest of many.
    """
    for seeds in ([seed_of("b", i) for i in range(128)], list(range(128))):
        noise = draw_noise(seeds, SHAPE, "cpu").double().flatten(1)
        number = noise.numel()
        assert abs(float(noise.mean())) < 5 / number**0.5
        assert abs(float(noise.var()) - 1) < 5 * (2 / number) ** 0.5
        assert abs(float((noise**4).mean()) - 3) < 5 * (96 / number) ** 0.5
        assert abs(float((noise[:, 1:] * noise[:, :-1]).mean())) < 5 / number**0.5
        correlation = torch.corrcoef(noise).fill_diagonal_(0)
        assert float(correlation.abs().max()) < 6 / noise.shape[1] ** 0.5


def test_a_longer_sample_begins_as_a_shorter_one() -> None:
    assert torch.equal(draw_noise([3], (9,), "cpu")[0, :5], draw_noise([3], (5,), "cpu")[0])
