"""Naming subjects from the middle of the network."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from safetensors.torch import load_file
from torch.nn.functional import cross_entropy

from storymem.errors import SettingsError
from storymem.training.network_sections import TransformerSection
from storymem.training.networks import Denoiser, build_transformer
from storymem.training.recognition import Recogniser, recognition_loss, recognition_shares
from storymem.training.run import train
from storymem.training.sparse import choose_tokens, take
from storymem.training.subjects import SubjectBatch
from storymem.training.text import Text

KNOWN = "data.options={groups: 40, clips: 3, subjects: true}"


def test_the_loss_is_cross_entropy_weighed_by_what_a_subject_has_of_a_token() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 2, 5)  # two tokens, respects of 3 and of 2 classes
    masks = torch.zeros(2, 1, 2, 2, 4)
    masks[0, 0, 0, :, :2] = 1  # the first subject has the first token,
    masks[0, 0, 1, 0, 2:] = 1  # the second half of the second one;
    labels = torch.tensor([[[[2, 0], [1, -1]]], [[[0, 0], [0, 0]]]])  # of the second nothing is known in one respect
    loss = recognition_loss(logits, SubjectBatch(masks, labels, labels >= 0), (3, 2), (2, 2))
    first, second = logits[0]
    expected = (
        cross_entropy(first[:3], torch.tensor(2))
        + cross_entropy(first[3:], torch.tensor(0))
        + 0.5 * cross_entropy(second[:3], torch.tensor(1))
    ) / 2.5
    torch.testing.assert_close(loss[0], expected)
    assert loss[1] == 0  # nobody is there
    certain = torch.full_like(logits, -50.0)
    certain[0, 0, 2] = certain[0, 0, 3] = certain[0, 1, 0] = 50.0
    right, another = recognition_shares(certain, SubjectBatch(masks, labels, labels >= 0), (3, 2), (2, 2))
    torch.testing.assert_close(right, torch.tensor([2 / 2.5, 0.0]))
    assert not another.any()  # there is no other subject


def test_what_is_said_of_another_subject_is_told_from_what_is_wrong() -> None:
    masks = torch.zeros(1, 2, 2, 2, 4)  # two frames of two tokens, two subjects
    masks[0, 0, 0, :, :2] = masks[0, 0, 1, :, 2:] = 1  # side by side in the first frame,
    masks[0, 1, 0] = 1  # the first alone in the second.
    labels = torch.tensor([[[[0, 1], [1, 1]], [[0, 1], [1, 1]]]])
    said = [(0, 1), (0, 1), (2, 0), (1, 1)]  # right; the first's colour; wrong; of one who is not in that frame
    logits = torch.zeros(1, 4, 5)
    for token, (first, second) in enumerate(said):
        logits[0, token, first] = logits[0, token, 3 + second] = 1.0
    right, another = recognition_shares(logits, SubjectBatch(masks, labels, labels >= 0), (3, 2), (2, 2))
    torch.testing.assert_close(right, torch.tensor([4 / 8]))
    torch.testing.assert_close(another, torch.tensor([1 / 8]))


def _share(*arguments: Any, number: int) -> torch.Tensor:
    return recognition_shares(*arguments)[number]


def test_the_mean_over_all_choices_of_tokens_is_the_loss_of_all() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 18, 5, generator=generator)
    masks = torch.rand(2, 3, 2, 4, 6, generator=generator)
    labels = torch.stack([torch.randint(-1, some, (2, 3, 2), generator=generator) for some in (3, 2)], dim=-1)
    subjects = SubjectBatch(masks, labels, labels >= 0)
    shown = torch.rand(2, 18, generator=generator) < 0.3
    measures = (recognition_loss, *(partial(_share, number=number) for number in (0, 1)))
    for measure in measures:
        parts = []
        for _ in range(2000):
            choice = choose_tokens(torch.rand(2, 18, generator=generator), shown, 9)
            parts.append(measure(take(logits, choice.kept), subjects, (3, 2), (2, 2), choice))
        spread = torch.stack(parts).std(dim=0) / 2000**0.5
        whole = measure(logits, subjects, (3, 2), (2, 2))
        assert ((torch.stack(parts).mean(dim=0) - whole).abs() < 4 * spread).all()
        assert (whole > 0).all()


def test_tokens_are_heard_in_their_places() -> None:
    """A recogniser that reads a number which the patch embedding writes finds it in the token of that place."""
    sizes = TransformerSection(num_layers=1, num_attention_heads=2, attention_head_dim=12, ffn_dim=32, freq_dim=16)
    transformer = build_transformer(sizes, 4, 8)
    recogniser = Recogniser(transformer, (2,))
    recogniser.norm = torch.nn.Identity()
    for block in transformer.blocks:
        for part in (block.attn1.to_out[0], block.attn2.to_out[0], block.ffn.net[2]):
            torch.nn.init.zeros_(part.weight)
            torch.nn.init.zeros_(part.bias)
    patch, head = transformer.patch_embedding, recogniser.head
    for module in (patch, head):
        torch.nn.init.zeros_(module.weight)
        torch.nn.init.zeros_(module.bias)
    with torch.no_grad():
        patch.weight[0, 0] = 1
        head.weight[1, 0] = 1
    states = torch.randn(2, 12, 3, 4, 6)
    denoiser = Denoiser(transformer, None, None, recogniser)
    _, said, _ = denoiser(states, torch.tensor([500.0, 20.0]), Text(torch.randn(2, 5, 8)), (-5, 0, 1))
    assert said is not None
    sums = states[:, 0].unfold(2, 2, 2).unfold(3, 2, 2).sum((-1, -2))
    torch.testing.assert_close(said[..., 1], sums.flatten(1))


@pytest.mark.parametrize("tokens", ["{}", "{clip: 0.5, memory: 0.5}"])
def test_squares_are_recognised_and_the_recogniser_is_left_behind(
    small_model: Path, tmp_path: Path, tokens: str
) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    changes = ["loss.recognition=1", "loss.focus=2", "steps=60", "log_every=60", "checkpoint_every=30"]
    changes += ["validation={every: 60, clips: 48, levels: [0.2]}", "conditioning={max_memory: 1, drop_memory: 0.2}"]
    changes += ["batch_size=16", "optimizer.learning_rate=1e-2", "ema.decay=0", f"tokens={tokens}"]
    changes += ["data.options.groups=200", "data.pool=100", "data.held_out=12"]  # of six groups it learns those alone
    train(toys.stage(toys.BASE, tmp_path, f"vae={vae}", KNOWN, *changes))
    # Of five colours; 0.66 and more, as of keyframes, of which nothing is said where there are none.
    assert toys.losses(tmp_path, "validation/0.2/right/recognised")[-1] > 0.6
    assert toys.losses(tmp_path, "validation/0.2/right/recognised_memory")[-1] > 0.5
    assert not toys.losses(tmp_path, "validation/0.2/none/recognised_memory")
    names = load_file(tmp_path / "model" / "transformer" / "diffusion_pytorch_model.safetensors").keys()
    assert names == load_file(small_model / "transformer" / "diffusion_pytorch_model.safetensors").keys()
    weights = load_file(tmp_path / "checkpoints" / "model-00000060" / "weights.safetensors")
    assert weights["recogniser.head.weight"].shape == (len(toys.COLOURS), 24)


def test_the_memory_stage_recognises_too_and_writes_only_the_lora(small_model: Path, tmp_path: Path) -> None:
    change = ["loss.recognition=0.5", "steps=2", "checkpoint_every=0"]
    train(toys.stage(toys.MEMORY, tmp_path / "with", f"model={small_model}", KNOWN, *change))
    train(toys.stage(toys.MEMORY, tmp_path / "without", f"model={small_model}", KNOWN, "steps=2"))
    first, second = (toys.losses(tmp_path / name)[0] for name in ("with", "without"))
    # Clip and memory, both near the entropy of five colours when nothing is learned yet.
    assert first - second == pytest.approx(2 * 0.5 * math.log(len(toys.COLOURS)), rel=0.35)
    (lora,) = (tmp_path / "with" / "lora").glob("*.safetensors")
    assert not [name for name in load_file(lora) if "recogniser" in name]


@pytest.mark.parametrize("tokens", ["{}", "{clip: 0.5, memory: 0.5}"])
def test_a_compiled_block_is_heard_as_well(small_model: Path, tmp_path: Path, tokens: str) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    change = [f"vae={vae}", KNOWN, "loss.recognition=1", "steps=3", "checkpoint_every=0", f"tokens={tokens}"]
    train(toys.stage(toys.BASE, tmp_path / "plain", *change))
    train(toys.stage(toys.BASE, tmp_path / "compiled", *change, "runtime.compile=static"))
    assert toys.losses(tmp_path / "compiled") == pytest.approx(toys.losses(tmp_path / "plain"), rel=1e-4)


def test_a_world_that_knows_nothing_is_refused(small_model: Path, tmp_path: Path) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    with pytest.raises(SettingsError, match="squares does not say what its subjects are"):
        train(toys.stage(toys.BASE, tmp_path, f"vae={vae}", "loss.recognition=1", "steps=1"))
