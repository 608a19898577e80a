"""A LoRA that begins as another one, and weights that begin with one in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from safetensors.torch import load_file

from storymem.errors import SettingsError
from storymem.models.checkpoints import load_components
from storymem.models.lora import load_lora, merge_lora
from storymem.training.network_sections import LoraSection
from storymem.training.networks import Denoiser, add_lora, start_lora
from storymem.training.output import save_model
from storymem.training.run import train
from storymem.training.text import Text

SCALES = ("lora.rank=4", "lora.rslora=true")
NAME = "blocks.0.attn1.to_q.weight"


@pytest.fixture(scope="module")
def lora(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that changes something."""
    folder = tmp_path_factory.mktemp("lora")
    train(toys.stage(toys.MEMORY, folder, f"model={small_model}", *SCALES, "steps=3", "optimizer.learning_rate=1e-1"))
    return folder / "lora"


def transformer_of(model: Path, component: str = "transformer") -> Any:
    return getattr(load_components(model), component)


def merged_with(lora: Path, transformer: Any) -> Any:
    one = load_lora(lora).high
    assert one is not None
    merge_lora(transformer, one)
    return transformer


@pytest.mark.parametrize("section", [{"rank": 4}, {"rank": 4, "rslora": False, "alpha": 3.0}])
def test_it_says_what_the_other_said(small_model: Path, lora: Path, section: dict[str, float]) -> None:
    plain, merged, begun = (transformer_of(small_model) for _ in range(3))
    for transformer in (plain, merged, begun):
        torch.nn.init.normal_(transformer.proj_out.weight, generator=torch.Generator().manual_seed(1))
    merged_with(lora, merged)
    one = load_lora(lora).high
    assert one is not None
    add_lora(begun, LoraSection.model_validate({**section, "dropout": 0}))
    start_lora(begun, one)
    source = torch.Generator().manual_seed(2)
    states = torch.randn(1, 12, 1, 8, 8, generator=source)
    text = Text(torch.randn(1, 24, 16, generator=source))
    unchanged, wanted, said = (
        Denoiser(transformer)(states, torch.tensor([500.0]), text, (0,))[0] for transformer in (plain, merged, begun)
    )
    assert (wanted - unchanged).abs().max() > 0.01
    torch.testing.assert_close(said, wanted, atol=1e-5, rtol=1e-5)


def test_training_goes_on_from_it(small_model: Path, lora: Path, tmp_path: Path) -> None:
    still = ("steps=1", "optimizer.learning_rate=1e-9", f"lora.start={lora}", "ema.decay=0")
    train(toys.stage(toys.MEMORY, tmp_path / "lora", f"model={small_model}", *SCALES, *still))
    before, after = (load_file(folder / "backbone.safetensors") for folder in (lora, tmp_path / "lora" / "lora"))
    assert set(before) == set(after)
    for name, weight in before.items():
        torch.testing.assert_close(after[name].float(), weight.float(), atol=1e-6, rtol=1e-6)
    train(toys.stage(toys.MEMORY, tmp_path / "full", f"model={small_model}", *still, "train=full"))
    plain, merged = transformer_of(small_model), merged_with(lora, transformer_of(small_model))
    assert (merged.state_dict()[NAME] - plain.state_dict()[NAME]).abs().max() > 0.05
    written = transformer_of(tmp_path / "full" / "model")
    torch.testing.assert_close(written.state_dict()[NAME], merged.state_dict()[NAME], atol=1e-6, rtol=1e-6)


def test_one_that_does_not_fit_is_refused(small_model: Path, lora: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"lora.start: .* has rank 4 at .*here it is 2.*set lora.rank to its rank"):
        train(toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", "lora.rank=2", f"lora.start={lora}"))


def test_both_experts_begin_with_it(small_model: Path, lora: Path, tmp_path: Path) -> None:
    """Also the one that is not trained, where it is written or asked along the way."""
    parts: Any = load_components(small_model)
    save_model(tmp_path / "two", transformer=parts.transformer, transformer_2=parts.transformer, vae=parts.vae,
               text_encoder=parts.text_encoder, tokenizer=parts.tokenizer, boundary_ratio=0.6)  # fmt: skip
    train(toys.stage(toys.MEMORY, tmp_path / "out", f"model={tmp_path}/two", "steps=1", "train=full", "expert=high",
                     f"lora.start={lora}"))  # fmt: skip
    merged = merged_with(lora, parts.transformer)
    written = transformer_of(tmp_path / "out" / "model", "transformer_2")
    torch.testing.assert_close(written.state_dict()[NAME], merged.state_dict()[NAME], atol=1e-6, rtol=1e-6)
