"""The stages from a configuration to what the pipeline loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from safetensors.torch import load_file

from storymem.errors import ModelError, SettingsError
from storymem.film.resolve import ModelRequest, resolve_model
from storymem.models.checkpoints import load_components
from storymem.models.lora import add_adapter, load_lora, merge_lora
from storymem.pipeline import StoryMemPipeline, text_length
from storymem.settings import SamplingConfig
from storymem.training.run import train


def velocity(transformer: torch.nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    config = transformer.config
    states = torch.randn(1, config.in_channels, 3, 4, 4, generator=generator)
    text = torch.randn(1, 5, config.text_dim, generator=generator)
    with torch.no_grad():
        return transformer(states, torch.tensor([500.0]), text, return_dict=False)[0]


def test_the_vae_knows_the_statistics_of_its_latents(tmp_path: Path) -> None:
    train(toys.stage(toys.VAE, tmp_path, "steps=3", "sample.every=3"))
    vae = load_components(None, vae=tmp_path / "vae", only=["vae"]).vae
    assert vae is not None
    assert (vae.config.z_dim, vae.config.scale_factor_spatial) == (4, 8)
    source = toys.Squares(32, 32, 5, {"groups": 40})
    clips = torch.stack([clip.frames for index in range(6) for clip in source.group(index)])
    from storymem.conditioning.codec import LatentCodec

    latents = LatentCodec(vae).encode(clips)
    assert latents.mean().abs() < 0.3
    assert latents.std() == pytest.approx(1, abs=0.3)
    assert (tmp_path / "samples" / "vae-00000003.png").is_file()
    assert toys.losses(tmp_path, "validation/psnr")


def test_a_model_trained_on_the_gradient_is_sampled_with_it(small_model: Path, tmp_path: Path) -> None:
    given = f"vae={small_model.parents[1]}/vae/vae", "steps=2"
    for blank in ("zeros", "gradient"):
        train(toys.stage(toys.BASE, tmp_path / blank, *given, f"conditioning.blank={blank}"))
    said = [json.loads((tmp_path / blank / "model" / "sampling.json").read_text()) for blank in ("zeros", "gradient")]
    assert said[1] == {**said[0], "blank": "gradient"}
    assert toys.losses(tmp_path / "gradient") != toys.losses(tmp_path / "zeros")


def test_a_lora_keeps_to_the_blank_frames_of_its_model(small_model: Path, tmp_path: Path) -> None:
    overrides = ("conditioning.blank=gradient", "steps=1")
    with pytest.raises(
        SettingsError, match=r"was trained with zeros, as its sampling\.json says: set conditioning\.blank to zeros"
    ):
        train(toys.stage(toys.MEMORY, tmp_path / "a", f"model={small_model}", *overrides))
    silent = tmp_path / "silent"
    shutil.copytree(small_model, silent)
    (silent / "sampling.json").unlink()
    train(toys.stage(toys.MEMORY, tmp_path / "b", f"model={silent}", *overrides))
    with_lora = ModelRequest(str(silent), loras=((str(tmp_path / "b" / "lora"), 1.0),))
    assert resolve_model(with_lora).sampling == {
        **resolve_model(ModelRequest(str(silent))).sampling,
        "blank": "gradient",
        "memory_stride": 5,
    }


def test_the_base_is_a_model_of_its_own(small_model: Path) -> None:
    components = load_components(small_model)
    assert components.transformer_2 is None
    assert components.transformer is not None
    assert components.transformer.config.in_channels == 12
    assert text_length(components.tokenizer) == 24
    written = json.loads((small_model / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))
    assert written["padding"] is written["truncation"] is None  # training pads, and that is no part of the model
    pipe = StoryMemPipeline.from_components(components)
    pipe.set_progress_bar_config(disable=True)
    sampling = SamplingConfig(width=32, height=32, num_frames=5, num_inference_steps=2)
    frames = pipe("A red square at night.", sampling=sampling, output_type="raw").frames
    assert frames.shape == (3, 5, 32, 32)
    assert pipe.embed_text("A red square.").shape == (1, 24, 16)
    # diffusers reads it too.
    from diffusers import WanImageToVideoPipeline

    assert WanImageToVideoPipeline.from_pretrained(small_model).vae.config.z_dim == 4


def test_the_text_encoder_learns_along(small_model: Path, tmp_path: Path) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    train(toys.stage(toys.BASE, tmp_path, f"vae={vae}", "steps=3", "ema.decay=0", "optimizer.learning_rate=0.01"))
    first = load_file(small_model / "text_encoder" / "model.safetensors")
    second = load_file(tmp_path / "model" / "text_encoder" / "model.safetensors")
    name = "encoder.block.0.layer.0.SelfAttention.q.weight"
    assert not torch.equal(first[name], second[name])


def test_what_is_in_focus_counts_more(small_model: Path, tmp_path: Path) -> None:
    vae = small_model.parents[1] / "vae" / "vae"

    def first_loss(name: str, focus: float) -> float:
        known = "data.options={groups: 40, clips: 3, subjects: true}"
        config = toys.stage(toys.BASE, tmp_path / name, f"vae={vae}", known, f"loss.focus={focus}", "steps=1")
        train(config)
        return toys.losses(tmp_path / name)[0]

    plain, some, more = (first_loss(str(focus), focus) for focus in (1.0, 4.0, 1e6))
    # From the mean over the whole picture towards that over the squares alone.
    assert min(plain, more) < some < max(plain, more)
    with pytest.raises(SettingsError, match="squares does not say where in its pictures its subjects are"):
        train(toys.stage(toys.BASE, tmp_path / "unknown", f"vae={vae}", "loss.focus=4", "steps=1"))


def test_a_base_of_two_experts(small_model: Path, tmp_path: Path) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    config = toys.stage(toys.BASE, tmp_path, f"vae={vae}", "steps=2", "transformer.experts=2")
    train(config)
    components = load_components(tmp_path / "model")
    assert components.transformer_2 is not None
    assert components.boundary_ratio == 0.9
    assert len(toys.losses(tmp_path)) == 4


@pytest.mark.parametrize("expert", ["high", "low"])
def test_one_of_two_experts_of_a_base(expert: str, small_model: Path, tmp_path: Path) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    settings = (f"vae={vae}", "steps=2", "transformer.experts=2", "transformer.boundary_ratio=0.7", f"expert={expert}")
    # From one transformer both begin; then from the two that came of it.
    first, second = tmp_path / "first", tmp_path / "second"
    train(toys.stage(toys.BASE, first, *settings, f"start={small_model}"))
    train(toys.stage(toys.BASE, second, *settings, f"start={first / 'model'}"))
    assert len(toys.losses(first)) == 2
    begun, once, twice = (load_components(folder) for folder in (small_model, first / "model", second / "model"))
    assert once.boundary_ratio == 0.7

    def same(some: Any, other: Any) -> bool:
        return all(map(torch.equal, some.state_dict().values(), other.state_dict().values()))

    for component in ("transformer", "transformer_2"):
        trained = component == ("transformer" if expert == "high" else "transformer_2")
        assert same(getattr(once, component), begun.transformer) is not trained
        assert same(getattr(twice, component), getattr(once, component)) is not trained
    assert same(twice.text_encoder, begun.text_encoder) is (expert == "low")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (("expert=high",), "expert does nothing with one expert"),
        (("expert=low", "transformer.experts=2"), "leaves the other one as it is in `start`, which is not given"),
        (("expert=low", "transformer.experts=2", "start=.", "loss.clauses=1"), "which is trained with the high expert"),
    ],
)
def test_one_of_two_experts_has_to_have_another(settings: tuple[str, ...], problem: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=problem):
        toys.stage(toys.BASE, tmp_path, "vae=.", *settings)


def test_memory_on_a_model_of_one_expert(small_model: Path, tmp_path: Path) -> None:
    config = toys.stage(
        toys.MEMORY,
        tmp_path,
        f"model={small_model}",
        "validation.every=4",
        "validation.clips=4",
        "validation.num_memory=2",
        "sample.every=4",
        "sample.num_inference_steps=1",
        "tensorboard=true",
    )
    result = train(config)
    assert result.outputs == [tmp_path / "lora"]
    lora = load_lora(tmp_path / "lora")
    assert lora.high is lora.low is not None
    assert len(toys.losses(tmp_path)) == 4
    assert set(toys.losses(tmp_path, "validation/0.95/right")) != set(toys.losses(tmp_path, "validation/0.95/wrong"))
    assert (tmp_path / "samples" / "model-00000004.png").is_file()
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_the_lora_of_the_reference_checkpoint_reads_back(tmp_path: Path) -> None:
    overrides = (f"model={toys.CHECKPOINT}", "lora.alpha=6", "ema.decay=0", "data.keyframes_per_clip=3")
    train(toys.stage(toys.MEMORY, tmp_path, *overrides))
    folder = tmp_path / "lora"
    shipped = toys.CHECKPOINT / "StoryMem" / "Wan2.2-MI2V-A14B"
    for name in ("backbone_high_noise.safetensors", "backbone_low_noise.safetensors"):
        assert set(load_file(folder / name)) == set(load_file(shipped / name))

    pair = load_lora(folder)
    for component, lora in (("transformer", pair.high), ("transformer_2", pair.low)):
        assert lora is not None
        assert lora.rslora
        assert {layer.alpha for layer in lora.layers.values()} == {6.0}
        base, adapted, merged = (
            getattr(load_components(toys.CHECKPOINT, dtype=torch.float32, only=[component]), component)
            for _ in range(3)
        )
        add_adapter(adapted, lora, "memory")
        merge_lora(merged, lora)
        change = (velocity(merged) - velocity(base)).norm()
        assert change > 1e-3
        assert (velocity(merged) - velocity(adapted)).norm() / velocity(merged).norm() < 1e-5


def test_the_adapter_in_training_computes_what_is_saved(tmp_path: Path) -> None:
    """What the optimizer saw and what `load_lora` gives back are the same function."""
    from storymem.training.network_sections import LoraSection
    from storymem.training.networks import add_lora
    from storymem.training.output import lora_tensors, save_lora

    config = LoraSection(rank=4, alpha=3.0, dropout=0.0)
    components = load_components(toys.CHECKPOINT, dtype=torch.float32, only=["transformer"])
    trained = components.transformer
    assert trained is not None
    torch.manual_seed(0)
    add_lora(trained, config)
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    save_lora(tmp_path / "lora", {"model": lora_tensors(trained)}, config)
    lora = load_lora(tmp_path / "lora").high
    assert lora is not None
    fresh = load_components(toys.CHECKPOINT, dtype=torch.float32, only=["transformer"]).transformer
    assert fresh is not None
    merge_lora(fresh, lora)
    assert (velocity(trained) - velocity(fresh)).norm() / velocity(fresh).norm() < 1e-5


@pytest.mark.parametrize("decay", [0.0, 0.99])
def test_what_is_saved_is_the_average(tmp_path: Path, decay: float) -> None:
    config = toys.stage(toys.MEMORY, tmp_path, f"model={toys.CHECKPOINT}", "expert=high", f"ema.decay={decay}")
    train(config)
    checkpoint = tmp_path / "checkpoints" / "high-00000004"
    weights = load_file(checkpoint / "weights.safetensors")
    expected = load_file(checkpoint / "average.safetensors") if decay else weights
    saved = load_file(tmp_path / "lora" / "backbone_high_noise.safetensors")
    assert len(saved) == len(expected) == 60
    name = "transformer.blocks.0.attn1.to_q.lora_B.memory.weight"
    assert torch.equal(saved["base_model.model.blocks.0.self_attn.q.lora_B.weight"], expected[name])
    assert torch.equal(expected[name], weights[name]) == (decay == 0)


@pytest.mark.parametrize("decay", [0.0, 0.99])
def test_a_base_is_the_average_too(small_model: Path, tmp_path: Path, decay: float) -> None:
    vae = small_model.parents[1] / "vae" / "vae"
    train(toys.stage(toys.BASE, tmp_path, f"vae={vae}", f"ema.decay={decay}"))
    kind = "average" if decay else "weights"
    expected = load_file(tmp_path / "checkpoints" / "model-00000004" / f"{kind}.safetensors")
    saved = load_file(tmp_path / "model" / "transformer" / "diffusion_pytorch_model.safetensors")
    assert torch.equal(saved["proj_out.weight"], expected["transformer.proj_out.weight"])


def test_one_expert_alone_can_be_trained(tmp_path: Path) -> None:
    train(toys.stage(toys.MEMORY, tmp_path, f"model={toys.CHECKPOINT}", "expert=low", "steps=1"))
    assert [path.name for path in sorted((tmp_path / "lora").glob("*.safetensors"))] == [
        "backbone_low_noise.safetensors"
    ]


def test_the_frozen_base_can_be_bfloat16(tmp_path: Path) -> None:
    overrides = ("runtime.precision=bfloat16", "runtime.base_dtype=bfloat16", "runtime.gradient_checkpointing=true")
    train(toys.stage(toys.MEMORY, tmp_path, f"model={toys.CHECKPOINT}", "expert=high", "steps=2", *overrides))
    tensors = load_file(tmp_path / "lora" / "backbone_high_noise.safetensors")
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}
    assert any(tensor.abs().max() > 0 for name, tensor in tensors.items() if "lora_B" in name)


def test_all_weights_can_be_trained(small_model: Path, tmp_path: Path) -> None:
    train(toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", "train=full", "ema.decay=0"))
    before, after = load_components(small_model), load_components(tmp_path / "model")
    assert not torch.equal(velocity(before.transformer), velocity(after.transformer))
    name = "encoder.block.0.layer.0.SelfAttention.q.weight"
    assert torch.equal(before.text_encoder.state_dict()[name], after.text_encoder.state_dict()[name])


def test_only_the_lora_changes(tmp_path: Path) -> None:
    from accelerate import Accelerator

    from storymem.training.log import RunLog
    from storymem.training.loop import train_task
    from storymem.training.memory_run import MemoryRun

    config = toys.stage(toys.MEMORY, tmp_path, f"model={toys.CHECKPOINT}", "expert=high", "steps=2")
    accelerator = Accelerator(cpu=True)
    run = MemoryRun(config, accelerator)
    task = run.task("high")
    before = {name: value.clone() for name, value in task.module.state_dict().items()}
    train_task(task, config, accelerator, RunLog(tmp_path), {})
    changed = {name for name, value in task.module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed
    assert all("lora_" in name for name in changed)
    assert len([name for name in changed if "lora_B" in name]) == 3 * 10  # blocks, linears


def test_mistakes_are_told(small_model: Path, tmp_path: Path) -> None:
    many = "conditioning={max_memory: 9, drop_memory: 0.999}"  # seldom drawn, and told all the same
    base = (f"vae={small_model / 'vae'}", f"start={small_model}")
    with pytest.raises(SettingsError, match="has one expert"):
        train(toys.stage(toys.MEMORY, tmp_path / "a", f"model={small_model}", "expert=low"))
    with pytest.raises(ModelError, match="no such folder"):
        train(toys.stage(toys.MEMORY, tmp_path / "b", "model=nowhere"))
    with pytest.raises(SettingsError, match=r"data\.world is 'moon'; known worlds: .*squares"):
        train(toys.stage(toys.MEMORY, tmp_path / "c", f"model={small_model}", "data.world=moon"))
    with pytest.raises(SettingsError, match="squares do not know colour"):
        train(toys.stage(toys.MEMORY, tmp_path / "d", f"model={small_model}", "data.options={colour: 1}"))
    with pytest.raises(SettingsError, match=r"text_encoder\.max_tokens is 99, but prompts of .* have 24 tokens"):
        train(toys.stage(toys.BASE, tmp_path / "f", *base, "text_encoder.max_tokens=99"))
    with pytest.raises(SettingsError, match="no group of related clips has 9 keyframes to give as memory"):
        train(toys.stage(toys.MEMORY, tmp_path / "e", f"model={small_model}", many, "steps=1"))
    with pytest.raises(SettingsError, match="of two experts only one is in memory"):
        train(toys.stage(toys.MEMORY, tmp_path / "g", f"model={toys.CHECKPOINT}", "sample.every=2"))
    with pytest.raises(SettingsError, match="start several with torchrun"):
        train(toys.stage(toys.MEMORY, tmp_path / "f", f"model={small_model}", "runtime.fsdp=true"))


def test_a_model_says_how_its_sheets_were_made(small_model: Path) -> None:
    sampling = resolve_model(ModelRequest(str(small_model))).sampling
    assert {name: sampling[name] for name in ("width", "height", "num_frames")} == {
        "width": 32,
        "height": 32,
        "num_frames": 5,
    }
    assert sampling["num_inference_steps"] == 20  # of the section `sample`
