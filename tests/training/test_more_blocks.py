"""A transformer that goes on with more blocks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toys

from storymem.errors import SettingsError
from storymem.training.more_blocks import add_blocks
from storymem.training.network_sections import TransformerSection
from storymem.training.networks import build_transformer
from storymem.training.run import train

SIZES = {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 32, "freq_dim": 16}


def test_more_blocks_say_the_same_and_every_one_can_learn() -> None:
    few = toys.transformer()
    more = build_transformer(TransformerSection(num_layers=5, **SIZES), 4, 8)
    before = {name: tensor.clone() for name, tensor in few.state_dict().items()}
    more.load_state_dict(add_blocks(few.state_dict(), 2, 5))
    inputs = {
        "hidden_states": torch.randn(2, 12, 3, 4, 6),
        "timestep": torch.tensor([500.0, 20.0]),
        "encoder_hidden_states": torch.randn(2, 5, 8),
        "return_dict": False,
    }
    assert torch.equal(more(**inputs)[0], few(**inputs)[0])
    more(**inputs)[0].square().sum().backward()
    for block in more.blocks[2:]:
        for branch in (block.attn1.to_out[0], block.attn2.to_out[0], block.ffn.net[2]):
            assert branch.weight.eq(0).all()
            assert branch.weight.grad.abs().sum() > 0
        assert block.attn1.to_q.weight.ne(0).any()  # what is behind those begins as a copy, not as nothing
    assert all(torch.equal(before[name], tensor) for name, tensor in few.state_dict().items())


def test_a_run_goes_on_with_more_blocks(small_model: Path, tmp_path: Path) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    common = [f"vae={vae}", "batch_size=16", "ema.decay=0"]
    train(toys.stage(toys.BASE, tmp_path / "few", *common, "transformer.num_layers=1", "steps=20", "log_every=20"))
    start = f"start={tmp_path / 'few' / 'model'}"
    train(toys.stage(toys.BASE, tmp_path / "same", *common, "transformer.num_layers=1", "steps=1", start))
    train(toys.stage(toys.BASE, tmp_path / "more", *common, "transformer.num_layers=3", "steps=1", start))
    same, more = (toys.losses(tmp_path / name)[0] for name in ("same", "more"))
    assert more == pytest.approx(same, rel=1e-6)
    deep = f"start={tmp_path / 'more' / 'model'}"
    less = toys.stage(toys.BASE, tmp_path / "less", *common, "transformer.num_layers=2", "steps=1", deep)
    with pytest.raises(SettingsError, match="do not fit"):  # fewer are another network
        train(less)
