"""Attention by matrix products computes what diffusers' own processor does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import toys

from storymem.conditioning.rope import use_positions
from storymem.training.attention import MatrixAttnProcessor, use_matrix_attention
from storymem.training.run import train
from storymem.training.sparse import forward_tokens


@pytest.fixture
def transformer() -> Any:
    return toys.transformer()


def answer(transformer: Any, *, some: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What the transformer says of a memory frame and two of a clip, and the gradient of its sum of squares."""
    states, t, text = toys.inputs()
    kept = torch.tensor([[1, 4, 12], [0, 2, 17]])
    transformer.zero_grad()
    with use_positions([transformer], (-5, 0, 1)):
        said = (
            forward_tokens(transformer, states, t, text, kept)
            if some
            else transformer(states, t, text, return_dict=False)[0]
        )
    said.square().sum().backward()
    gradients = {name: p.grad.clone() for name, p in transformer.named_parameters() if p.grad is not None}
    return said.detach(), gradients


@pytest.mark.parametrize("some", [False, True])
def test_answers_and_gradients_are_those_of_the_fused_kernel(transformer: Any, *, some: bool) -> None:
    theirs, their_gradients = answer(transformer, some=some)
    use_matrix_attention(transformer)
    ours, our_gradients = answer(transformer, some=some)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert our_gradients.keys() == their_gradients.keys()
    for name, gradient in their_gradients.items():
        torch.testing.assert_close(our_gradients[name], gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()))


def test_weights_keep_their_names(transformer: Any) -> None:
    before = list(transformer.state_dict())
    use_matrix_attention(transformer)
    assert list(transformer.state_dict()) == before


def test_a_run_on_a_processor_takes_it_with_bfloat16_and_learns_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    original = MatrixAttnProcessor.__call__

    def counted(self: MatrixAttnProcessor, *args: Any, **options: Any) -> torch.Tensor:
        calls.append(1)
        return original(self, *args, **options)

    monkeypatch.setattr(MatrixAttnProcessor, "__call__", counted)
    changes = (f"model={toys.CHECKPOINT}", "expert=high", "optimizer.kind=muon")
    train(toys.stage(toys.MEMORY, tmp_path / "float32", *changes))
    assert not calls
    train(toys.stage(toys.MEMORY, tmp_path / "bfloat16", *changes, "runtime.precision=bfloat16"))
    assert calls
    assert toys.losses(tmp_path / "bfloat16") == pytest.approx(toys.losses(tmp_path / "float32"), rel=0.02)
