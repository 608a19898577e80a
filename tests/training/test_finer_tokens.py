"""A transformer that goes on with smaller patches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toys

from storymem.errors import SettingsError
from storymem.training.finer_tokens import refine_tokens
from storymem.training.network_sections import TransformerSection
from storymem.training.networks import build_transformer
from storymem.training.run import train
from storymem.training.sparse import patchify

SIZES = {"num_layers": 1, "num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 32, "freq_dim": 16}


@pytest.mark.parametrize("finer", [(1, 1, 1), (1, 1, 2), (1, 2, 1), (2, 1, 1)])
def test_fine_tokens_begin_as_the_coarse_one_did(finer: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    # Patches of several latent frames are not for training, and not what is looked at here.
    coarse = build_transformer(TransformerSection(**SIZES).model_copy(update={"patch_size": (2, 2, 2)}), 4, 8)
    torch.nn.init.normal_(coarse.proj_out.bias)
    fine = build_transformer(TransformerSection(**SIZES).model_copy(update={"patch_size": finer}), 4, 8)
    fine.load_state_dict(refine_tokens(coarse.state_dict(), (2, 2, 2), finer))
    # Where a latent is constant over a coarse patch, every fine token in it is the coarse one.
    blocks = torch.randn(1, 12, 2, 3, 4)
    latent = blocks.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    tokens = coarse.patch_embedding(latent)
    for axis, size in enumerate(finer, 2):
        tokens = tokens.repeat_interleave(2 // size, axis)
    torch.testing.assert_close(fine.patch_embedding(latent), tokens)
    # What is said of a place in a fine token is the mean over the coarse token's places of that kind.
    hidden = torch.randn(1, 1, 24)
    volume = coarse.proj_out(hidden).view(2, 2, 2, 4).permute(3, 0, 1, 2)[None]  # [1, z, 2, 2, 2]
    means = patchify(volume, finer).mean(dim=1)
    torch.testing.assert_close(fine.proj_out(hidden)[:, 0], means)


def test_patches_that_do_not_divide_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"patches of \[1, 2, 2\] cannot be cut into patches of \[1, 3, 1\]"):
        refine_tokens({}, (1, 2, 2), (1, 3, 1))
    with pytest.raises(SettingsError, match="or divide it"):
        refine_tokens({}, (1, 1, 2), (1, 2, 2))


def test_a_run_goes_on_with_smaller_patches(small_model: Path, tmp_path: Path) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    train(toys.stage(toys.BASE, tmp_path / "coarse", f"vae={vae}", "steps=20", "batch_size=16", "log_every=20"))
    fine = [f"vae={vae}", "transformer.patch_size=[1, 1, 2]", "batch_size=16", "steps=1"]
    train(toys.stage(toys.BASE, tmp_path / "new", *fine))
    train(toys.stage(toys.BASE, tmp_path / "on", *fine, f"start={tmp_path / 'coarse' / 'model'}"))
    from_nothing, gone_on = (toys.losses(tmp_path / name)[0] for name in ("new", "on"))
    assert gone_on < from_nothing
