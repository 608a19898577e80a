"""A LoRA that begins as another one, and weights that begin with one in them."""

from __future__ import annotations

from pathlib import Path

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


@pytest.fixture(scope="module")
def lora(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that changes something."""
    folder = tmp_path_factory.mktemp("lora")
    train(toys.stage(toys.MEMORY, folder, f"model={small_model}", *SCALES, "steps=3", "optimizer.learning_rate=1e-1"))
    return folder / "lora"


@pytest.mark.parametrize("section", [{"rank": 4}, {"rank": 4, "rslora": False, "alpha": 3.0}])
def test_it_says_what_the_other_said(small_model: Path, lora: Path, section: dict[str, float]) -> None:
    plain, merged, begun = (load_components(small_model).transformer for _ in range(3))
    for transformer in (plain, merged, begun):
        torch.nn.init.normal_(transformer.proj_out.weight, generator=torch.Generator().manual_seed(1))  # type: ignore[union-attr]
    one = load_lora(lora).high
    assert one is not None
    merge_lora(merged, one)  # type: ignore[arg-type]
    add_lora(begun, LoraSection.model_validate({**section, "dropout": 0}))  # type: ignore[arg-type]
    start_lora(begun, one)  # type: ignore[arg-type]
    source = torch.Generator().manual_seed(2)
    states = torch.randn(1, 12, 1, 8, 8, generator=source)
    text = Text(torch.randn(1, 24, 16, generator=source))
    unchanged, wanted, said = (
        Denoiser(transformer)(states, torch.tensor([500.0]), text, (0,))[0]  # type: ignore[arg-type]
        for transformer in (plain, merged, begun)
    )
    assert (wanted - unchanged).abs().max() > 0.01
    torch.testing.assert_close(said, wanted, atol=1e-4, rtol=1e-4)


def test_training_goes_on_from_it(small_model: Path, lora: Path, tmp_path: Path) -> None:
    still = ("steps=1", "optimizer.learning_rate=1e-9", f"lora.start={lora}", "ema.decay=0")
    train(toys.stage(toys.MEMORY, tmp_path / "lora", f"model={small_model}", *SCALES, *still))
    before, after = (load_file(folder / "backbone.safetensors") for folder in (lora, tmp_path / "lora" / "lora"))
    assert set(before) == set(after)
    for name, weight in before.items():
        torch.testing.assert_close(after[name].float(), weight.float(), atol=1e-2, rtol=1e-2)  # written as bfloat16
    train(toys.stage(toys.MEMORY, tmp_path / "full", f"model={small_model}", *still, "train=full"))
    merged = load_components(small_model).transformer
    one = load_lora(lora).high
    assert one is not None
    merge_lora(merged, one)  # type: ignore[arg-type]
    written = load_components(tmp_path / "full" / "model").transformer
    name = "blocks.0.attn1.to_q.weight"
    plain = load_components(small_model).transformer.state_dict()[name]  # type: ignore[union-attr]
    assert (merged.state_dict()[name] - plain).abs().max() > 0.05  # type: ignore[union-attr]
    torch.testing.assert_close(written.state_dict()[name], merged.state_dict()[name], atol=1e-2, rtol=1e-2)  # type: ignore[union-attr]


def test_one_that_does_not_fit_is_refused(small_model: Path, lora: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"lora.start: .* has rank 4 at .*here it is 2.*set lora.rank to its rank"):
        train(toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", "lora.rank=2", f"lora.start={lora}"))


def test_both_experts_begin_with_it(small_model: Path, lora: Path, tmp_path: Path) -> None:
    """Also the one that is not trained, where it is written or asked along the way."""
    parts = load_components(small_model)
    save_model(tmp_path / "two", transformer=parts.transformer, transformer_2=parts.transformer, vae=parts.vae,  # type: ignore[arg-type]
               text_encoder=parts.text_encoder, tokenizer=parts.tokenizer, boundary_ratio=0.6)  # type: ignore[arg-type] # fmt: skip
    train(toys.stage(toys.MEMORY, tmp_path / "out", f"model={tmp_path}/two", "steps=1", "train=full", "expert=high",
                     f"lora.start={lora}"))  # fmt: skip
    one = load_lora(lora).low
    assert one is not None
    merge_lora(parts.transformer, one)  # type: ignore[arg-type]
    written = load_components(tmp_path / "out" / "model").transformer_2
    name = "blocks.0.attn1.to_q.weight"
    torch.testing.assert_close(written.state_dict()[name], parts.transformer.state_dict()[name], atol=1e-2, rtol=1e-2)  # type: ignore[union-attr]
