"""LoRAs that fit no model, and files that are no LoRA: named, and nothing is changed."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from storymem.errors import CheckpointError, ModelError
from storymem.models.lora import add_adapter, load_lora, merge_lora

State = dict[str, torch.Tensor]
METHOD = "base_model.model."
Q = f"{METHOD}blocks.0.self_attn.q"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {**s, f"{Q}.lora_magnitude_vector": torch.ones(96)}, "q.lora_magnitude_vector fit no LoRA"),
        (lambda s: {**s, "text_encoder.x.weight": torch.ones(1)}, r"text_encoder\.x\.weight fit no LoRA"),
        (lambda s: {k: v for k, v in s.items() if k != f"{Q}.lora_B.weight"}, r"q\.lora_A\.weight has no lora_B"),
        (lambda s: {k: v for k, v in s.items() if k != f"{Q}.lora_A.weight"}, r"q\.lora_B\.weight has no lora_A"),
        (lambda s: {**s, f"{Q}.lora_A.weight": torch.ones(7, 96)}, "cannot be multiplied"),
        (lambda s: {**s, f"{Q}.lora_down.weight": torch.ones(8, 96)}, "the same tensor twice"),
        (lambda s: {}, "holds no tensors"),
        (lambda s: {**s, f"{Q}.alpha": torch.ones(2)}, r"self_attn\.q\.alpha is no single number"),
        (lambda s: {**s, f"{Q}.alpha": torch.tensor(torch.nan)}, r"self_attn\.q\.alpha is no single number"),
        (
            lambda s: {**s, f"{Q}.lora_A.weight": torch.ones(0, 96), f"{Q}.lora_B.weight": torch.ones(96, 0)},
            r"lora_A\.weight is of rank 0",
        ),
    ],
    ids=["dora", "stranger", "no B", "no A", "ranks", "twice", "empty", "two alphas", "no alpha", "no rank"],
)
def test_a_file_that_is_no_such_lora_names_the_key(
    tmp_path: Path, lora_folder: Path, change: Callable[[State], State], message: str
) -> None:
    state = load_file(lora_folder / "backbone_high_noise.safetensors")
    save_file(change(state), tmp_path / "high.safetensors")
    with pytest.raises(CheckpointError, match=message):
        load_lora(tmp_path / "high.safetensors")


@pytest.mark.parametrize("put_on", [merge_lora, lambda t, lora: add_adapter(t, lora, "a")], ids=["merge", "adapter"])
@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"blocks.7.self_attn.q": (96, 96)}, r"blocks\.7\.self_attn\.q\.lora_A\.weight fit nothing"),
        ({"blocks.0.self_attn.query": (96, 96)}, r"self_attn\.query\.lora_A\.weight fit nothing"),
        ({"blocks.0.self_attn.norm_q": (96, 96)}, r"norm_q\.lora_A\.weight fit nothing"),
        ({"blocks.0.self_attn.q": (5120, 5120)}, r"self_attn\.q\.lora_A\.weight is for a layer of 5120 x 5120"),
        ({"blocks.0.ffn.0": (96, 160)}, r"blocks\.0\.ffn\.net\.0\.proj of the transformer is 160 x 96"),
    ],
)
def test_a_lora_for_another_model_is_named_and_changes_nothing(
    tmp_path: Path,
    transformer: torch.nn.Module,
    put_on: Callable[[torch.nn.Module, object], object],
    keys: dict[str, tuple[int, int]],
    message: str,
) -> None:
    state = {}
    for module, (rows, columns) in {"blocks.1.self_attn.v": (96, 96), **keys}.items():
        state[f"{METHOD}{module}.lora_A.weight"] = torch.ones(2, columns)
        state[f"{METHOD}{module}.lora_B.weight"] = torch.ones(rows, 2)
    save_file(state, tmp_path / "high.safetensors")
    before = copy.deepcopy(transformer.state_dict())
    with pytest.raises(CheckpointError, match=message):
        put_on(transformer, load_lora(tmp_path / "high.safetensors").high)
    assert before.keys() == transformer.state_dict().keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in transformer.state_dict().items())


def test_deltas_that_do_not_fit(tmp_path: Path, transformer: torch.nn.Module) -> None:
    for name, size, message in (
        ("blocks.0.norm9.diff", 96, r"blocks\.0\.norm9\.diff fit nothing"),
        ("blocks.0.norm3.diff", 5, r"norm3\.diff has shape \[5\]"),
    ):
        save_file({f"diffusion_model.{name}": torch.ones(size)}, tmp_path / "a.safetensors")
        with pytest.raises(CheckpointError, match=message):
            merge_lora(transformer, load_lora(tmp_path / "a.safetensors").high)


def test_folders_that_are_no_lora(tmp_path: Path, lora_folder: Path) -> None:
    with pytest.raises(
        ModelError, match=r"no LoRA for the high-noise expert; .*one of its folders is meant: Wan2\.2-MI2V-A14B"
    ):
        load_lora(lora_folder.parent)
    with pytest.raises(ModelError, match="no such LoRA"):
        load_lora(tmp_path / "nothing")
    shutil.copytree(lora_folder, tmp_path / "two")
    shutil.copy(lora_folder / "backbone_high_noise.safetensors", tmp_path / "two" / "other_high.safetensors")
    with pytest.raises(ModelError, match="could each be for the high-noise expert"):
        load_lora(tmp_path / "two")
    with pytest.raises(ModelError, match="for both experts"):
        load_lora(lora_folder, expert="high")


def test_an_adapters_name_is_used_once(transformer: torch.nn.Module, lora_folder: Path) -> None:
    lora = load_lora(lora_folder).high
    add_adapter(transformer, lora, "memory")
    with pytest.raises(ModelError, match="already an adapter named 'memory'"):
        add_adapter(transformer, lora, "memory")


@pytest.mark.parametrize("alpha", ['"sixteen"', "NaN", "[8]", "true"])
def test_a_noted_alpha_that_is_no_number(tmp_path: Path, lora_folder: Path, alpha: str) -> None:
    shutil.copy(lora_folder / "backbone_high_noise.safetensors", tmp_path / "high.safetensors")
    (tmp_path / "adapter_config.json").write_text(f'{{"lora_alpha": {alpha}}}')
    with pytest.raises(CheckpointError, match=r"high\.safetensors: .* lora_alpha .*: not a number"):
        load_lora(tmp_path / "high.safetensors")
