from __future__ import annotations

import numpy as np
import pytest
import torch

from storymem.conditioning.condition import build_condition
from storymem.conditioning.layout import VideoLayout
from storymem.training.objective import (
    add_noise,
    noise_level,
    noise_levels,
    sequence_of,
    transformer_input,
    velocity_target,
    video_loss,
)
from storymem.training.sections import NoiseSection

LAYOUT = VideoLayout(9, 32, 48, num_memory=2)


def sequence(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    memory = torch.randn(2, 16, 2, 4, 6, generator=generator)
    video = torch.randn(2, 16, 3, 4, 6, generator=generator)
    clean = sequence_of(memory, video)
    return memory, clean, torch.randn(clean.shape, generator=generator)


def test_a_perfect_model_has_no_loss() -> None:
    _, clean, noise = sequence()
    t = torch.tensor([0.3, 0.9])
    noisy = add_noise(clean, noise, t)
    # A model that knows the clean clip says (x_t - x_0) / t, the way from it to the noise.
    velocity = (noisy - clean) / t.view(-1, 1, 1, 1, 1)
    assert video_loss(velocity, velocity_target(clean, noise), 2) == pytest.approx(torch.zeros(2), abs=1e-9)


def test_one_euler_step_of_the_target_leads_back_to_the_clip() -> None:
    _, clean, noise = sequence()
    t = torch.tensor([0.25, 1.0])
    noisy = add_noise(clean, noise, t)
    back = noisy - t.view(-1, 1, 1, 1, 1) * velocity_target(clean, noise)
    torch.testing.assert_close(back, clean, atol=1e-5, rtol=0)
    assert torch.equal(add_noise(clean, noise, torch.ones(2)), noise)


def test_memory_slots_do_not_count() -> None:
    _, clean, noise = sequence()
    target = velocity_target(clean, noise)
    velocity = target.clone()
    velocity[:, :, :2] += 100
    assert video_loss(velocity, target, 2).tolist() == [0, 0]
    velocity[1, :, 2] += 3  # one of three latent frames
    assert video_loss(velocity, target, 2).tolist() == pytest.approx([0, 3.0])


def test_a_weight_says_which_latent_pixels_count() -> None:
    _, clean, noise = sequence()
    target = velocity_target(clean, noise)
    velocity = target.clone()
    velocity[:, :, 2, :2] += 2  # half of the first of three latent frames
    weight = torch.ones(2, 3, 4, 6)
    assert video_loss(velocity, target, 2, weight).tolist() == pytest.approx(video_loss(velocity, target, 2).tolist())
    assert video_loss(velocity, target, 2).tolist() == pytest.approx([4 / 6, 4 / 6])
    weight[1, 0, :2] = 5  # there, and a sixth of all: 5 of the 10 parts that count
    assert video_loss(velocity, target, 2, weight).tolist() == pytest.approx([4 / 6, 2.0])


def test_gradients_reach_the_video_slots_only() -> None:
    _, clean, noise = sequence()
    velocity = torch.zeros_like(clean, requires_grad=True)
    video_loss(velocity, velocity_target(clean, noise), 2).mean().backward()
    assert velocity.grad is not None
    assert velocity.grad[:, :, :2].abs().max() == 0
    assert velocity.grad[:, :, 2:].abs().min() > 0


def test_uniform_levels_are_shifted() -> None:
    config = NoiseSection(distribution="uniform", shift=4.0)
    assert noise_level(0.5, config) == pytest.approx(4 * 0.5 / (1 + 3 * 0.5))
    assert noise_level(0.0, config) == 0
    assert noise_level(1.0, config) == 1
    plain = NoiseSection(distribution="uniform", shift=1.0)
    assert noise_level(0.37, plain) == pytest.approx(0.37)


@pytest.mark.parametrize("distribution", ["uniform", "logit_normal"])
@pytest.mark.parametrize("span", [(0.9, 1.0), (0.0, 0.9), (0.0, 1.0)])
def test_an_expert_sees_its_part_of_the_distribution(distribution: str, span: tuple[float, float]) -> None:
    config = NoiseSection(distribution=distribution, shift=3.0)
    us = (np.arange(4000) + 0.5) / 4000
    whole = noise_levels(us.tolist(), config).numpy()
    inside = np.sort(whole[(whole >= span[0]) & (whole <= span[1])])
    own = np.sort(noise_levels(us.tolist(), config, *span).numpy())
    assert own.min() >= span[0]
    assert own.max() <= span[1]
    # The same distribution: quantiles agree with those of what falls in the span.
    quantiles = np.linspace(0.05, 0.95, 10)
    np.testing.assert_allclose(np.quantile(own, quantiles), np.quantile(inside, quantiles), atol=5e-3)


def test_logit_normal_is_the_sigmoid_of_a_normal() -> None:
    config = NoiseSection(distribution="logit_normal", shift=1.0, mean=0.4, std=1.3)
    us = ((np.arange(20000) + 0.5) / 20000).tolist()
    levels = noise_levels(us, config).double().numpy()
    logits = np.log(levels / (1 - levels))
    assert logits.mean() == pytest.approx(0.4, abs=0.01)
    assert logits.std() == pytest.approx(1.3, abs=0.02)


def test_the_input_is_noise_then_mask_then_condition() -> None:
    memory, clean, _ = sequence()
    known = torch.randn(2, 16, 3, 4, 6)
    whole = build_condition(LAYOUT, memory, known)
    first = build_condition(LAYOUT, memory[:1], known[:1])
    second = build_condition(LAYOUT, memory[1:], known[1:])
    states = transformer_input(clean, [whole], 36, torch.float32)
    assert states.shape == (2, 36, 5, 4, 6)
    assert torch.equal(states, transformer_input(clean, [first, second], 36, torch.float32))
    assert torch.equal(states[:, :16], clean)
    assert torch.equal(states[:, 16:20, :2], torch.ones(2, 4, 2, 4, 6))
    assert torch.equal(states[:, 16:20, 2:], torch.zeros(2, 4, 3, 4, 6))
    assert torch.equal(states[:, 20:, :2], memory)
    assert torch.equal(states[:, 20:, 2:], known)


def test_a_text_to_video_model_gets_the_latents_alone() -> None:
    clean = torch.randn(2, 16, 3, 4, 6)
    condition = build_condition(VideoLayout(9, 32, 48), None, torch.zeros(2, 16, 3, 4, 6))
    assert torch.equal(transformer_input(clean, [condition], 16, torch.float32), clean)
