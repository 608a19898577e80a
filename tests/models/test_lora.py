"""LoRAs: every spelling, the right scale, merged as beside the weights, and never silently nothing."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file

from storymem.errors import CheckpointError, ModelError
from storymem.models.checkpoints import load_components
from storymem.models.lora import add_adapter, apply_lora, load_lora, merge_lora

State = dict[str, torch.Tensor]
Run = Callable[[torch.nn.Module], torch.Tensor]
METHOD = "base_model.model."
MODULES = [
    *(f"{attention}.{part}" for attention in ("self_attn", "cross_attn") for part in "qkvo"),
    *("ffn.0", "ffn.2"),
]


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


def distilled(*, rank: int = 4, alpha: float | None = 2.0, up: str = "lora_up", down: str = "lora_down") -> State:
    """A LoRA as the 4-step ones are shipped: all linear layers of the blocks, `.alpha` beside them."""
    generator = torch.Generator().manual_seed(3)
    state: State = {}
    for block in range(3):
        for module in MODULES:
            name = f"diffusion_model.blocks.{block}.{module}"
            rows, columns = {"ffn.0": (160, 96), "ffn.2": (96, 160)}.get(module, (96, 96))
            state[f"{name}.{down}.weight"] = torch.randn(rank, columns, generator=generator) / 10
            state[f"{name}.{up}.weight"] = torch.randn(rows, rank, generator=generator) / 10
            if alpha is not None:
                state[f"{name}.alpha"] = torch.tensor(alpha)
    return state


def kohya(prefix: str) -> State:
    """The same as kohya's trainers name it."""
    return {
        key.replace("diffusion_model.blocks.", f"{prefix}blocks_")
        .replace(".self_attn.", "_self_attn_")
        .replace(".cross_attn.", "_cross_attn_")
        .replace(".ffn.", "_ffn_"): value
        for key, value in distilled().items()
    }


def test_the_methods_lora_changes_both_experts_by_the_rank_stabilised_scale(
    experts: tuple[torch.nn.Module, torch.nn.Module], lora_folder: Path
) -> None:
    pair = load_lora(lora_folder)
    for expert, lora, file in zip(experts, (pair.high, pair.low), ("high", "low"), strict=True):
        changed = copy.deepcopy(expert)
        report = merge_lora(changed, lora)
        assert len(report.modules) == 30
        assert report.scales == (round(8 / math.sqrt(8), 6),)
        assert report.merged
        raw = load_file(lora_folder / f"backbone_{file}_noise.safetensors")
        for theirs, ours in {
            "blocks.1.self_attn.k": "blocks.1.attn1.to_k",
            "blocks.2.cross_attn.o": "blocks.2.attn2.to_out.0",
            "blocks.0.ffn.0": "blocks.0.ffn.net.0.proj",
            "blocks.0.ffn.2": "blocks.0.ffn.net.2",
        }.items():
            product = raw[f"{METHOD}{theirs}.lora_B.weight"] @ raw[f"{METHOD}{theirs}.lora_A.weight"]
            before, after = expert.get_submodule(ours).weight, changed.get_submodule(ours).weight
            torch.testing.assert_close(after, before + math.sqrt(8) * product, rtol=1e-5, atol=1e-6)
        # and nothing else
        untouched = [name for name, _ in expert.named_parameters() if "attn" not in name and ".ffn." not in name]
        assert untouched
        assert all(torch.equal(expert.get_parameter(n), changed.get_parameter(n)) for n in untouched)


def test_rank_128_gets_the_methods_scale(tmp_path: Path) -> None:
    state = {
        f"{METHOD}blocks.0.self_attn.q.lora_{x}.weight": torch.zeros(s) for x, s in (("A", (128, 96)), ("B", (96, 128)))
    }
    save_file(state, tmp_path / "high.safetensors")
    lora = load_lora(tmp_path / "high.safetensors").high
    assert lora.scale("blocks.0.attn1.to_q") == pytest.approx(11.3137, abs=1e-4)


def test_alpha_and_rslora_can_be_said(lora_folder: Path) -> None:
    file = lora_folder / "backbone_high_noise.safetensors"
    module = "blocks.0.attn1.to_q"
    assert load_lora(file, alpha=16).high.scale(module) == pytest.approx(16 / math.sqrt(8))
    assert load_lora(file, rslora=False).high.scale(module) == 1.0


def test_a_pth_is_the_same_as_its_safetensors(
    lora_folder: Path, tmp_path: Path, transformer: torch.nn.Module, run: Run
) -> None:
    for expert in ("high", "low"):
        state = load_file(lora_folder / f"backbone_{expert}_noise.safetensors")
        torch.save(state, tmp_path / f"backbone_{expert}_noise.pth")
    other = copy.deepcopy(transformer)
    merge_lora(transformer, load_lora(lora_folder).high)
    merge_lora(other, load_lora(tmp_path).high)
    assert torch.equal(run(transformer), run(other))


def test_safetensors_come_before_pth_in_one_folder(lora_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(lora_folder, tmp_path / "lora")
    for expert in ("high", "low"):
        (tmp_path / "lora" / f"backbone_{expert}_noise.pth").write_bytes(b"not to be opened")
    assert load_lora(tmp_path / "lora").high.path.suffix == ".safetensors"


def test_merged_and_beside_the_weights_compute_the_same(
    transformer: torch.nn.Module, lora_folder: Path, run: Run
) -> None:
    plain = run(transformer)
    lora = load_lora(lora_folder).high
    merged, adapted = copy.deepcopy(transformer), transformer
    merge_lora(merged, lora)
    assert not add_adapter(adapted, lora, "memory").merged
    assert difference(run(adapted), run(merged)) < 1e-5
    assert difference(run(merged), plain) > 0.1
    adapted.set_adapters(["memory"], [0.0])
    assert difference(run(adapted), plain) < 1e-6


def test_a_second_lora_is_stacked_with_its_own_weight(
    transformer: torch.nn.Module, lora_folder: Path, tmp_path: Path, run: Run
) -> None:
    save_file(distilled(rank=4, alpha=2.0), tmp_path / "four_steps.safetensors")
    first, second = load_lora(lora_folder).high, load_lora(tmp_path / "four_steps.safetensors").high
    assert second.scale("blocks.0.attn1.to_q") == 0.5
    merged, adapted = copy.deepcopy(transformer), copy.deepcopy(transformer)
    merge_lora(merged, first)
    merge_lora(merged, second, weight=0.5)
    add_adapter(adapted, first, "memory", 1.0)
    add_adapter(adapted, second, "steps", 0.5)
    assert difference(run(adapted), run(merged)) < 1e-5
    name = "blocks.0.attn1.to_q"
    expected = transformer.get_submodule(name).weight + sum(
        weight * lora.scale(name) * lora.layers[name].up @ lora.layers[name].down
        for lora, weight in ((first, 1.0), (second, 0.5))
    )
    torch.testing.assert_close(merged.get_submodule(name).weight, expected, rtol=1e-5, atol=1e-6)
    # A third one leaves the weights of those already there alone.
    add_adapter(adapted, first, "third", 0.0)
    assert difference(run(adapted), run(merged)) < 1e-5


@pytest.mark.parametrize(
    "state",
    [
        distilled(),
        distilled(up="lora_B", down="lora_A"),
        {k.replace("diffusion_model.", "model.diffusion_model."): v for k, v in distilled().items()},
        kohya("lora_unet_"),
        kohya("lora_unet__"),
        {
            k.replace("diffusion_model.", "transformer.")
            .replace("self_attn.", "attn1.to_")
            .replace("cross_attn.", "attn2.to_")
            .replace("to_o.", "to_out.0.")
            .replace("ffn.0.", "ffn.net.0.proj.")
            .replace("ffn.2.", "ffn.net.2."): v
            for k, v in distilled(up="lora_B", down="lora_A").items()
        },
    ],
    ids=["lora_up", "lora_B", "model.diffusion_model", "kohya", "kohya with two", "diffusers"],
)
def test_spellings_of_the_same_lora(tmp_path: Path, transformer: torch.nn.Module, state: State) -> None:
    save_file(distilled(), tmp_path / "a.safetensors")
    save_file(state, tmp_path / "b.safetensors")
    other = copy.deepcopy(transformer)
    merge_lora(transformer, load_lora(tmp_path / "a.safetensors").high)
    assert len(merge_lora(other, load_lora(tmp_path / "b.safetensors").high).modules) == 30
    assert all(torch.equal(a, b) for a, b in zip(transformer.parameters(), other.parameters(), strict=True))


def test_without_alpha_the_scale_is_one(tmp_path: Path) -> None:
    save_file(distilled(alpha=None), tmp_path / "a.safetensors")
    assert load_lora(tmp_path / "a.safetensors").high.scale("blocks.0.ffn.net.2") == 1.0


def test_full_differences_of_norms_and_biases_are_added(tmp_path: Path, transformer: torch.nn.Module) -> None:
    extra = {
        "diffusion_model.blocks.0.norm3.diff": torch.full((96,), 0.25),
        "diffusion_model.blocks.1.self_attn.norm_q.diff": torch.full((96,), 0.5),
        "diffusion_model.blocks.0.self_attn.q.diff_b": torch.full((96,), 1.0),
        "diffusion_model.blocks.2.modulation.diff": torch.full((1, 6, 96), 0.125),
    }
    save_file({**distilled(), **extra}, tmp_path / "a.safetensors")
    before = copy.deepcopy(transformer)
    lora = load_lora(tmp_path / "a.safetensors").high
    report = merge_lora(transformer, lora, weight=2.0)
    assert set(report.parameters) == {
        "blocks.0.norm2.weight",
        "blocks.1.attn1.norm_q.weight",
        "blocks.0.attn1.to_q.bias",
        "blocks.2.scale_shift_table",
    }
    for name, amount in {
        "blocks.0.norm2.weight": 0.5,
        "blocks.0.attn1.to_q.bias": 2.0,
        "blocks.2.scale_shift_table": 0.25,
    }.items():
        torch.testing.assert_close(transformer.get_parameter(name), before.get_parameter(name) + amount)
    adapted = copy.deepcopy(before)
    add_adapter(adapted, lora, "a", weight=2.0)
    torch.testing.assert_close(
        adapted.get_parameter("blocks.0.attn1.to_q.base_layer.bias"),
        transformer.get_parameter("blocks.0.attn1.to_q.bias"),
    )


def test_one_file_for_both_experts_or_for_one(tmp_path: Path) -> None:
    for name in (
        "style.safetensors",
        "style_low_noise.safetensors",
        "wan_HighNoise.safetensors",
        "flow-highlight.safetensors",
    ):
        save_file(distilled(), tmp_path / name)
    both = load_lora(tmp_path / "style.safetensors")
    assert both.high is not None
    assert both.low is not None
    low = load_lora(tmp_path / "style_low_noise.safetensors")
    assert (low.high is None, low.low is None) == (True, False)
    assert load_lora(tmp_path / "wan_HighNoise.safetensors").low is None
    assert load_lora(tmp_path / "flow-highlight.safetensors").low is not None
    said = load_lora(tmp_path / "style.safetensors", expert="low")
    assert (said.high is None, said.low is None) == (True, False)


def test_diffusers_file_with_both_experts(tmp_path: Path) -> None:
    high = {"transformer.blocks.0.attn1.to_q.lora_A.weight": torch.ones(2, 96)}
    high["transformer.blocks.0.attn1.to_q.lora_B.weight"] = torch.ones(96, 2)
    low = {name.replace("transformer.", "transformer_2."): 2 * tensor for name, tensor in high.items()}
    save_file({**high, **low}, tmp_path / "pytorch_lora_weights.safetensors")
    pair = load_lora(tmp_path / "pytorch_lora_weights.safetensors")
    assert float(pair.high.layers["blocks.0.attn1.to_q"].up.max()) == 1
    assert float(pair.low.layers["blocks.0.attn1.to_q"].up.max()) == 2


def test_each_expert_has_its_own_alpha_in_diffusers_metadata(tmp_path: Path) -> None:
    state = {
        f"{expert}.blocks.0.attn1.to_q.lora_{part}.weight": torch.ones(shape)
        for expert in ("transformer", "transformer_2")
        for part, shape in (("A", (4, 96)), ("B", (96, 4)))
    }
    said = {"transformer.lora_alpha": 8, "transformer_2.lora_alpha": 2, "transformer_2.use_rslora": True}
    save_file(state, tmp_path / "a.safetensors", metadata={"lora_adapter_metadata": json.dumps(said)})
    pair = load_lora(tmp_path / "a.safetensors")
    assert pair.high.scale("blocks.0.attn1.to_q") == 8 / 4
    assert pair.low.scale("blocks.0.attn1.to_q") == 2 / math.sqrt(4)


def test_what_diffusers_saves_comes_back(
    tmp_path: Path, transformer: torch.nn.Module, lora_folder: Path, run: Run
) -> None:
    original = copy.deepcopy(transformer)
    add_adapter(transformer, load_lora(lora_folder).high, "memory")
    transformer.save_lora_adapter(tmp_path, adapter_name="memory", weight_name="high.safetensors")
    lora = load_lora(tmp_path / "high.safetensors").high
    assert lora.rslora  # from the metadata: the names say nothing of it
    merge_lora(original, lora)
    assert difference(run(original), run(transformer)) < 1e-5


def test_pefts_settings_beside_the_file_count(tmp_path: Path, lora_folder: Path) -> None:
    shutil.copytree(lora_folder, tmp_path / "lora")
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps({"lora_alpha": 32, "use_rslora": False}))
    assert load_lora(tmp_path / "lora").low.scale("blocks.0.attn1.to_q") == 4.0
    (tmp_path / "lora" / "adapter_config.json").write_text(json.dumps({"lora_alpha": 32}))  # PEFT before it had rsLoRA
    assert load_lora(tmp_path / "lora").low.scale("blocks.0.attn1.to_q") == 4.0
    (tmp_path / "lora" / "adapter_config.json").write_text("[")
    with pytest.raises(CheckpointError, match="settings noted with it"):
        load_lora(tmp_path / "lora")


@pytest.fixture
def quantized(tmp_path: Path, original: State) -> Path:
    kind = gguf.GGMLQuantizationType.Q8_0
    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "wan")
    for name, tensor in original.items():
        if tensor.ndim == 2 and name.startswith("blocks."):
            writer.add_tensor(name, gguf.quants.quantize(tensor.numpy(), kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tmp_path / "a.gguf"


def test_on_quantized_weights_a_lora_goes_beside_them(quantized: Path, lora_folder: Path, run: Run) -> None:
    def load(*, kept: bool) -> torch.nn.Module:
        return load_components(
            transformer=quantized, only={"transformer"}, num_heads=4, dtype=torch.float32, quantized=kept
        ).transformer

    lora = load_lora(lora_folder).high
    kept, expanded = load(kept=True), load(kept=False)
    plain = run(kept)
    with pytest.raises(ModelError, match=r"cannot be merged: .* is quantized"):
        merge_lora(kept, lora)
    assert not apply_lora(kept, lora, name="memory").merged
    assert apply_lora(expanded, lora, name="memory").merged
    assert difference(run(kept), run(expanded)) < 1e-3
    assert difference(run(kept), plain) > 0.1


def test_a_full_difference_of_quantized_weights_says_why_not(quantized: Path, tmp_path: Path) -> None:
    transformer = load_components(transformer=quantized, only={"transformer"}, num_heads=8).transformer
    save_file({"diffusion_model.blocks.0.self_attn.q.diff": torch.ones(96, 96)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=r"self_attn\.q\.diff is a full difference.* quantized"):
        apply_lora(transformer, load_lora(tmp_path / "a.safetensors").high, name="a")


def test_apply_stacks_on_an_adapter(transformer: torch.nn.Module, lora_folder: Path, run: Run) -> None:
    lora = load_lora(lora_folder).high
    merged = copy.deepcopy(transformer)
    for weight in (1.0, 0.5):
        merge_lora(merged, lora, weight)
    add_adapter(transformer, lora, "one")
    assert not apply_lora(transformer, lora, name="two", weight=0.5).merged
    assert difference(run(transformer), run(merged)) < 1e-5


def test_merging_rounds_once(transformer: torch.nn.Module, lora_folder: Path) -> None:
    lora = load_lora(lora_folder).high
    name = "blocks.0.attn1.to_v"
    half = copy.deepcopy(transformer).to(torch.bfloat16)
    before = half.get_submodule(name).weight.float()
    merge_lora(half, lora)
    layer = lora.layers[name]
    exact = before + lora.scale(name) * (layer.up @ layer.down)
    assert torch.equal(half.get_submodule(name).weight, exact.to(torch.bfloat16))


def test_lightx2vs_differences_of_the_modulation(tmp_path: Path, transformer: torch.nn.Module) -> None:
    extra = {
        "diffusion_model.blocks.2.diff_m": torch.full((1, 6, 96), 0.125),
        "diffusion_model.head.diff_m": torch.full((1, 2, 96), 0.5),
    }
    save_file({**distilled(), **extra}, tmp_path / "a.safetensors")
    before = copy.deepcopy(transformer)
    report = merge_lora(transformer, load_lora(tmp_path / "a.safetensors").high)
    assert set(report.parameters) == {"blocks.2.scale_shift_table", "scale_shift_table"}
    for name, amount in {"blocks.2.scale_shift_table": 0.125, "scale_shift_table": 0.5}.items():
        torch.testing.assert_close(transformer.get_parameter(name), before.get_parameter(name) + amount)
