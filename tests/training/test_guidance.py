"""Guidance in the weights: the teacher says what the pipeline computes, and a model learns to say it in one call."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from safetensors.torch import load_file

from storymem.errors import SettingsError
from storymem.film.resolve import ModelRequest, resolve_model
from storymem.models.checkpoints import load_components
from storymem.pipeline import StoryMemPipeline
from storymem.settings import SamplingConfig
from storymem.training.guidance import GuidedTeacher
from storymem.training.network_sections import LoraSection
from storymem.training.networks import Denoiser, add_lora, trainable_parameters
from storymem.training.output import save_model
from storymem.training.run import train
from storymem.training.sections import DistilSection
from storymem.training.text import PromptCache, Text

GUIDED = "distil={guidance_scale: 3, memory_guidance_scale: 2}"
ALONE = "conditioning={max_memory: 2, drop_prompt: 0}"


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(("prompt_scale", "memory_scale"), [(3.0, 2.0), (1.0, 2.0), (3.0, 1.0)])
def test_the_teacher_says_what_the_pipeline_computes(
    small_model: Path, apart: bool, prompt_scale: float, memory_scale: float
) -> None:
    pipe = StoryMemPipeline.from_components(load_components(small_model))
    pipe.set_progress_bar_config(disable=True)
    transformer: Any = pipe.transformer
    torch.nn.init.normal_(transformer.proj_out.weight, generator=torch.Generator().manual_seed(1))
    sampling = SamplingConfig(width=32, height=32, num_frames=5, num_inference_steps=1, solver="euler",
                              guidance_scale=prompt_scale, memory_guidance_scale=memory_scale)  # fmt: skip
    frames = list(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 2 - 1)
    condition = pipe.encode_condition(sampling, frames)
    shape = condition.layout.latents_shape(pipe.vae.config.z_dim)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    made = pipe("A red square at night.", negative_prompt="fog", condition=condition, sampling=sampling, latents=noise,
                output_type="latent").latents  # fmt: skip
    pipelines = condition.video(noise - made)  # Euler's only step goes from t = 1 to 0

    denoiser = Denoiser(transformer)
    if not apart:
        add_lora(transformer, LoraSection(rank=2))
    config = DistilSection(guidance_scale=prompt_scale, memory_guidance_scale=memory_scale, negative_prompt="fog")
    prompts = PromptCache(pipe.tokenizer, pipe.text_encoder, "cpu")
    teacher = GuidedTeacher(config, prompts, denoiser, apart=apart)
    for parameter in trainable_parameters(denoiser).values():  # what is learned meanwhile does not reach the teacher
        torch.nn.init.normal_(parameter.data)
    channels = condition.channels(transformer.config.in_channels, noise.device, noise.dtype)
    states = torch.cat([noise, channels], dim=1)
    text = Text(prompts(["A red square at night."]))
    said = teacher.velocity(denoiser, states, torch.tensor([1000.0]), text, condition.positions, 2)
    torch.testing.assert_close(said, pipelines, atol=1e-4, rtol=1e-4)


def test_a_copied_teacher_computes_where_the_run_does(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_components(small_model)
    prompts = PromptCache(model.tokenizer, model.text_encoder, "cpu")  # type: ignore[arg-type]
    elsewhere = torch.device("meta")  # no accelerator is needed for it
    denoiser = Denoiser(model.transformer)  # type: ignore[arg-type]
    teacher = GuidedTeacher(DistilSection(guidance_scale=2), prompts, denoiser, apart=True, device=elsewhere)
    with teacher._teaching(denoiser) as copy:
        assert {parameter.device for parameter in copy.parameters()} == {elsewhere}
    assert next(denoiser.parameters()).device.type == "cpu"

    asked: list[Any] = []
    whole = GuidedTeacher.__init__

    def listen(self: GuidedTeacher, *arguments: Any, **options: Any) -> None:
        asked.append(options["device"])
        whole(self, *arguments, **options)

    monkeypatch.setattr(GuidedTeacher, "__init__", listen)
    train(toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", "train=full", GUIDED, ALONE, "steps=1"))
    assert asked == [torch.device("cpu")]  # the accelerator's


@pytest.mark.parametrize("share", ["tokens={clip: 1}", "tokens={clip: 0.5, memory: 0.5}"])
@pytest.mark.parametrize("trained", ["lora", "full"])
def test_a_model_learns_its_own_guidance(small_model: Path, tmp_path: Path, trained: str, share: str) -> None:
    steps = 60 if trained == "full" else 200  # a LoRA of so low a rank learns it more slowly
    overrides = (
        f"train={trained}",
        GUIDED,
        ALONE,
        share,
        "lora.rank=8",
        f"steps={steps}",
        "batch_size=8",
        "ema.decay=0",
    )
    # The toy has learned next to nothing, so its guidance is made visible: every weight louder.
    model = tmp_path / "model"
    parts = load_components(small_model)
    torch.nn.init.normal_(parts.transformer.proj_out.weight, std=0.5, generator=torch.Generator().manual_seed(1))
    save_model(model, transformer=parts.transformer, transformer_2=None, vae=parts.vae, text_encoder=parts.text_encoder,
               tokenizer=parts.tokenizer, boundary_ratio=None)  # fmt: skip
    faster = "optimizer.learning_rate=1e-2"
    train(toys.stage(toys.MEMORY, tmp_path / "out", f"model={model}", faster, *overrides))
    losses = toys.losses(tmp_path / "out")
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])
    folder = tmp_path / "out" / ("lora" if trained == "lora" else "model")
    said = json.loads((folder / "sampling.json").read_text())
    assert said["guidance_scale"] == said.get("memory_guidance_scale", 1.0) == 1.0


def test_a_lora_says_how_it_is_sampled(small_model: Path, tmp_path: Path) -> None:
    train(toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", GUIDED, ALONE, "steps=1"))
    assert load_file(tmp_path / "lora" / "backbone.safetensors")
    plain = resolve_model(ModelRequest(str(small_model)))
    assert plain.sampling["guidance_scale"] == 3.5
    fast = resolve_model(ModelRequest(str(small_model), loras=((str(tmp_path / "lora"), 1.0),)))
    assert fast.sampling == {
        **plain.sampling,
        "guidance_scale": 1.0,
        "memory_guidance_scale": 1.0,
        "memory_stride": 5,
    }
    # A base that has a guidance for each expert has none of them with it.
    assert resolve_model(ModelRequest("tiny-random")).sampling["guidance_scale_2"] == 3.5
    on_both = resolve_model(ModelRequest("tiny-random", loras=((str(tmp_path / "lora"), 1.0),)))
    config = SamplingConfig(**on_both.sampling)
    assert (config.guidance_scale, config.guidance_scale_2) == (1.0, None)


def test_a_lora_is_sampled_where_in_time_its_memory_was(small_model: Path, tmp_path: Path) -> None:
    apart = "conditioning.memory_stride=1"
    train(toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", apart, "steps=1"))
    own = resolve_model(ModelRequest(str(small_model), loras=((str(tmp_path / "lora"), 1.0),)))
    assert own.sampling["memory_stride"] == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("distil={}",), "there is no guidance to learn"),
        (("distil={guidence: 3}",), "known are guidance_scale, memory_guidance_scale, negative_prompt"),
        ((GUIDED,), "set conditioning.drop_prompt to 0"),
        ((GUIDED, "conditioning={max_memory: 0, drop_prompt: 0}"), "needs memory"),
        ((GUIDED, ALONE, "sample.guidance_scale=2"), "sample.guidance_scale does nothing with distil"),
    ],
)
def test_what_cannot_be_learned_is_refused(tmp_path: Path, overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        toys.stage(toys.MEMORY, tmp_path, "model=base", *overrides)


def test_both_experts_learn_theirs(tmp_path: Path) -> None:
    train(toys.stage(toys.MEMORY, tmp_path, f"model={toys.CHECKPOINT}", GUIDED, ALONE, "steps=1", "batch_size=2"))
    names = {path.name for path in (tmp_path / "lora").iterdir()}
    assert names >= {"backbone_high_noise.safetensors", "backbone_low_noise.safetensors", "sampling.json"}
