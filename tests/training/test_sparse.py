from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import toys

from storymem.conditioning.rope import use_positions
from storymem.training.objective import video_loss
from storymem.training.run import train
from storymem.training.sparse import choose_tokens, forward_tokens, patchify, take, token_loss

PATCH = (1, 2, 2)


@pytest.fixture(scope="module")
def transformer() -> Any:
    return toys.transformer()


def test_all_tokens_are_the_transformers_own_answer(transformer: Any) -> None:
    states, t, text = toys.inputs()
    every = torch.arange(18).expand(2, -1)
    with torch.no_grad(), use_positions([transformer], (-5, 0, 1)):
        whole = transformer(states, t, text, return_dict=False)[0]
        said = forward_tokens(transformer, states, t, text, every)
    torch.testing.assert_close(said, patchify(whole, PATCH))


def test_tokens_keep_their_places(transformer: Any) -> None:
    # Shown alone, the memory's frame is what a clip of one frame at that position would be.
    states, t, text = toys.inputs()
    first = torch.arange(6).expand(2, -1)
    with torch.no_grad():
        with use_positions([transformer], (-5, 0, 1)):
            said = forward_tokens(transformer, states, t, text, first)
        with use_positions([transformer], (-5,)):
            alone = transformer(states[:, :, :1], t, text, return_dict=False)[0]
    torch.testing.assert_close(said, patchify(alone, PATCH))


def test_what_is_left_out_is_not_seen(transformer: Any) -> None:
    states, t, text = toys.inputs()
    kept = torch.tensor([[1, 4, 12], [0, 2, 17]])
    changed = states.clone()
    changed[0, :, 0, :2, :2] += 5  # token 0 of the first sample
    with torch.no_grad(), use_positions([transformer], (-5, 0, 1)):
        before, after = (forward_tokens(transformer, s, t, text, kept) for s in (states, changed))
    torch.testing.assert_close(before, after)


def test_subjects_come_first_and_background_is_never_forgotten() -> None:
    scores = torch.rand(3, 40, generator=torch.Generator().manual_seed(0))
    subject = torch.zeros(3, 40, dtype=torch.bool)
    subject[0, :5] = True
    subject[1, :35] = True
    subject[2] = True
    choice = choose_tokens(scores, subject, 16)
    taken = [int(subject[i, choice.kept[i]].sum()) for i in range(3)]
    assert taken == [5, 14, 16]
    assert all(row == sorted(set(row)) for row in choice.kept.tolist())
    # Weights are one over the chances: those of a group add up to its number.
    assert choice.weight.sum(dim=1).tolist() == pytest.approx([40, 40, 40])
    assert choice.weight[0, :5].tolist() == [1] * 5
    assert choice.weight[0, 5:].tolist() == pytest.approx([35 / 11] * 11)


@pytest.mark.parametrize("weighed", [False, True])
def test_the_mean_over_all_choices_is_the_loss_of_all_tokens(weighed: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    velocity, target = torch.randn(2, 2, 4, 3, 4, 6, generator=generator)
    weight = 1 + 9 * torch.rand(2, 3, 4, 6, generator=generator) if weighed else None
    subject = torch.rand(2, 18, generator=generator) < 0.3
    said, wanted = patchify(velocity, PATCH), patchify(target, PATCH)
    losses = []
    for _ in range(4000):
        choice = choose_tokens(torch.rand(2, 18, generator=generator), subject, 9)
        losses.append(token_loss(take(said, choice.kept), take(wanted, choice.kept), choice, PATCH, weight))
    spread = torch.stack(losses).std(dim=0) / 4000**0.5
    off = (torch.stack(losses).mean(dim=0) - video_loss(velocity, target, 0, weight)).abs()
    assert (off < 4 * spread).all()
    every = choose_tokens(torch.rand(2, 18, generator=generator), subject, 18)
    torch.testing.assert_close(token_loss(said, wanted, every, PATCH, weight), video_loss(velocity, target, 0, weight))


def test_a_run_on_half_of_the_tokens_learns_what_one_on_all_of_them_learns(small_model: Path, tmp_path: Path) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    changes = [f"vae={vae}", "data.options={groups: 40, clips: 3, subjects: true}", "loss.focus=4", "steps=60"]
    changes += ["validation={every: 60, clips: 8, levels: [0.5]}", "conditioning={max_memory: 2, drop_memory: 0.2}"]
    changes += ["batch_size=16", "optimizer.learning_rate=1e-2", "ema.decay=0", "log_every=60", "checkpoint_every=0"]
    train(toys.stage(toys.BASE, tmp_path / "untrained", *changes, "steps=1", "validation.every=1"))
    train(toys.stage(toys.BASE, tmp_path / "all", *changes))
    train(toys.stage(toys.BASE, tmp_path / "half", *changes, "tokens={clip: 0.5, memory: 0.4}"))
    before, every, half = (
        toys.losses(tmp_path / name, "validation/0.5/right")[-1] for name in ("untrained", "all", "half")
    )
    assert before - half > 0.7 * (before - every) > 0


def test_a_world_that_knows_nothing_of_subjects_is_taken_by_lot_and_compiled(small_model: Path, tmp_path: Path) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    changes = [f"vae={vae}", "tokens={clip: 0.5, memory: 0.5}", "steps=3", "checkpoint_every=0"]
    train(toys.stage(toys.BASE, tmp_path / "plain", *changes))
    train(toys.stage(toys.BASE, tmp_path / "compiled", *changes, "runtime.compile=static"))
    assert toys.losses(tmp_path / "compiled") == pytest.approx(toys.losses(tmp_path / "plain"), rel=1e-4)


def test_a_lora_is_trained_on_some_tokens_with_and_without_checkpointing(small_model: Path, tmp_path: Path) -> None:
    changes = [f"model={small_model}", "tokens={clip: 0.5, memory: 0.5}", "steps=2", "checkpoint_every=0"]
    train(toys.stage(toys.MEMORY, tmp_path / "plain", *changes))
    train(toys.stage(toys.MEMORY, tmp_path / "checkpointed", *changes, "runtime.gradient_checkpointing=true"))
    assert toys.losses(tmp_path / "checkpointed") == pytest.approx(toys.losses(tmp_path / "plain"), rel=1e-5)
