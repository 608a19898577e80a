"""Muon and AdamW as one optimizer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import toys
from test_resume import Stopped, same_files, stop_at

from storymem.errors import SettingsError
from storymem.training.muon import MuonWithAdamW, muon_groups, orthogonal
from storymem.training.network_sections import TextEncoderSection, TransformerSection
from storymem.training.networks import build_text_encoder, build_transformer
from storymem.training.run import train
from storymem.training.text import build_tokenizer


@pytest.mark.parametrize("shape", [(16, 16), (16, 48), (48, 16)])
def test_singular_values_come_near_1_and_vectors_stay(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, *shape) * torch.tensor([1.0, 1e-3, 1e3]).view(3, 1, 1)
    found = orthogonal(matrices)
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.3
    assert values.max() < 1.3
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    turned = left.mT @ found @ right.mT
    off_diagonal = turned - torch.diag_embed(torch.diagonal(turned, dim1=1, dim2=2))
    assert off_diagonal.abs().max() < 1e-2


def test_it_agrees_with_torch() -> None:
    torch.manual_seed(0)
    ours = torch.nn.Parameter(torch.randn(24, 24))
    theirs = torch.nn.Parameter(ours.detach().clone())
    a = MuonWithAdamW([{"params": [ours], "muon": True, "weight_decay": 0.1}], lr=0.01)
    b = torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for _ in range(3):
        gradient = torch.randn(24, 24)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        a.step()
        b.step()
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=0)  # theirs iterates in bfloat16; a step is about 0.01


def test_steps_in_bfloat16_are_nearly_those_in_float32() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, 24, 48)
    exact, rounded = orthogonal(matrices), orthogonal(matrices, torch.bfloat16)
    assert rounded.dtype == torch.float32
    assert not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, atol=0.02, rtol=0)


def test_only_matrices_of_blocks_are_muons() -> None:
    tokenizer = build_tokenizer(["a red square"], TextEncoderSection(vocabulary=260))
    section = TextEncoderSection(d_model=16, num_layers=1, num_heads=2, d_kv=8, d_ff=16)
    text = build_text_encoder(section, tokenizer)
    transformer = build_transformer(
        TransformerSection(num_layers=1, num_attention_heads=2, attention_head_dim=12, ffn_dim=32, freq_dim=16), 4, 16
    )
    both = torch.nn.ModuleDict({"transformer": transformer, "text_encoder": text})
    parameters = dict(both.named_parameters())
    names = {id(value): name for name, value in parameters.items()}
    groups = muon_groups(parameters, 0.1)
    muons = {names[id(p)] for group in groups if group["muon"] for p in group["params"]}
    assert len(muons) == 10 + 7  # q, k, v, o twice and two linears; q, k, v, o and three linears of a gated T5
    assert "transformer.blocks.0.attn1.to_q.weight" in muons
    assert not any("embed" in name or "bias" in name or "proj_out" in name for name in muons)
    assert sum(len(group["params"]) for group in groups) == len(parameters)
    assert {group["weight_decay"] for group in groups} == {0.0, 0.1}


def test_a_run_with_muon_resumes_bit_for_bit(small_model: Path, tmp_path: Path) -> None:
    vae = small_model.parents[1] / "vae" / "vae"

    def config(name: str) -> object:
        return toys.stage(toys.BASE, tmp_path / name, f"vae={vae}", "steps=5", "optimizer.kind=muon")

    train(config("whole"))
    with pytest.raises(Stopped):
        train(config("parts"), on_record=stop_at(4))
    train(config("parts"))
    assert toys.losses(tmp_path / "parts") == toys.losses(tmp_path / "whole")
    same_files(tmp_path / "parts" / "model", tmp_path / "whole" / "model")


def test_sharded_matrices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="muon needs whole matrices"):
        toys.stage(toys.BASE, tmp_path, "vae=somewhere", "optimizer.kind=muon", "runtime.fsdp=true")
