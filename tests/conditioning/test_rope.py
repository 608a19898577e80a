from __future__ import annotations

import pytest
import torch
from diffusers import WanTransformer3DModel

from storymem.conditioning.rope import MemoryRotaryPosEmbed, install_memory_rope, temporal_positions, use_positions


def tiny_transformer(seed: int = 0) -> WanTransformer3DModel:
    torch.manual_seed(seed)
    return WanTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=24,
        in_channels=36,
        out_channels=16,
        text_dim=16,
        freq_dim=32,
        ffn_dim=32,
        num_layers=2,
        rope_max_seq_len=64,
    ).eval()


def forward(transformer: WanTransformer3DModel, states: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(5)
    text = torch.randn(1, 7, 16)
    with torch.no_grad():
        return transformer(states, torch.tensor([500]), text, return_dict=False)[0]


def test_positions_of_the_negative_shift() -> None:
    assert temporal_positions(3, 4, stride=5) == (-15, -10, -5, 0, 1, 2, 3)
    assert temporal_positions(0, 2) == (0, 1)
    assert temporal_positions(2, 2, stride=1) == (-2, -1, 0, 1)


def test_without_memory_it_is_the_module_it_replaces() -> None:
    transformer = tiny_transformer()
    states = torch.randn(1, 36, 5, 8, 12)
    original = transformer.rope(states)
    ours = install_memory_rope(transformer)(states)
    for a, b in zip(original, ours, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=0, atol=1e-7)


def test_stride_one_is_plain_counting_because_rope_is_relative() -> None:
    transformer = tiny_transformer()
    states = torch.randn(1, 36, 5, 8, 12)
    plain = forward(transformer, states)
    with use_positions([transformer], temporal_positions(2, 3, stride=1)):
        shifted = forward(transformer, states)
    assert (plain - shifted).norm() / plain.norm() < 1e-5
    with use_positions([transformer], temporal_positions(2, 3, stride=5)):
        method = forward(transformer, states)
    assert (plain - method).norm() / plain.norm() > 1e-3


def test_the_state_dict_keeps_its_keys_and_positions_are_given_back() -> None:
    transformer = tiny_transformer()
    keys = set(transformer.state_dict())
    with use_positions([transformer, None], temporal_positions(1, 2)):
        assert isinstance(transformer.rope, MemoryRotaryPosEmbed)
    assert set(transformer.state_dict()) == keys
    assert transformer.rope.positions is None
    assert install_memory_rope(transformer) is transformer.rope


def test_positions_that_do_not_fit_the_latents_are_a_bug_that_shows() -> None:
    transformer = tiny_transformer()
    with use_positions([transformer], (0, 1)), pytest.raises(AssertionError, match="2 temporal positions"):
        forward(transformer, torch.randn(1, 36, 3, 4, 4))


def test_what_was_sampled_in_inference_mode_can_be_trained_after() -> None:
    transformer = tiny_transformer()
    states, text = torch.randn(1, 36, 3, 4, 4), torch.randn(1, 7, 16)
    with use_positions([transformer], temporal_positions(1, 2)):
        with torch.inference_mode():
            forward(transformer, states)
        transformer(states, torch.tensor([500]), text, return_dict=False)[0].sum().backward()
    assert transformer.blocks[0].attn1.to_q.weight.grad is not None
