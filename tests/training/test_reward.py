"""Learning from a judge: shots that are made from noise are moved to where they are judged better."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import toys
from safetensors.torch import load_file

from storymem.errors import SettingsError
from storymem.models.checkpoints import load_components
from storymem.pipeline import StoryMemPipeline
from storymem.settings import SamplingConfig
from storymem.training.denoise import conditions_of
from storymem.training.loop import _scale_down, compile_blocks
from storymem.training.memory_run import MemoryRun
from storymem.training.output import save_model
from storymem.training.plan import plan_batch
from storymem.training.run import make_accelerator, train

ALONE = "conditioning={max_memory: 2, drop_prompt: 0}"
KNOWING = "data.options={groups: 40, clips: 3, subjects: true}"
REWARD = "reward={steps: 3}"


def louder(model: Path, folder: Path, experts: int = 1) -> Path:
    """A toy that has learned next to nothing, but says something."""
    parts: Any = load_components(model)
    every = [parts.transformer, load_components(model).transformer][:experts]
    for number, transformer in enumerate(every):
        torch.nn.init.normal_(transformer.proj_out.weight, std=0.2, generator=torch.Generator().manual_seed(number))
    save_model(folder, transformer=every[0], transformer_2=every[1] if experts == 2 else None, vae=parts.vae,
               text_encoder=parts.text_encoder, tokenizer=parts.tokenizer,
               boundary_ratio=0.6 if experts == 2 else None)  # fmt: skip
    return folder


def memory_stage(model: Path, output: Path, *overrides: str) -> Any:
    return toys.stage(toys.MEMORY, output, f"model={model}", ALONE, KNOWING, REWARD, *overrides)


def test_a_model_learns_what_the_judge_wants(small_model: Path, tmp_path: Path) -> None:
    model = louder(small_model, tmp_path / "model")
    watched = ("validation={every: 30, clips: 12, levels: [0.5]}", "ema.decay=0", "reward.options={sharpness: 20}")
    faster = ("steps=60", "batch_size=8", "optimizer.learning_rate=2e-2")
    train(memory_stage(model, tmp_path / "out", "train=full", *faster, *watched))
    losses = toys.losses(tmp_path / "out")
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    judged = toys.losses(tmp_path / "out", "validation/judge")
    assert len(judged) == len(toys.losses(tmp_path / "out", "validation/judge/right")) == 2
    assert judged[1] < judged[0] < sum(losses[:10]) / 10


def test_a_lora_learns_it_too_and_is_sampled_without_guidance(small_model: Path, tmp_path: Path) -> None:
    for trained in ("lora", "full"):
        train(memory_stage(small_model, tmp_path / trained, f"train={trained}", "steps=2"))
    lora = load_file(tmp_path / "lora" / "lora" / "backbone.safetensors")
    assert any(weight.any() for name, weight in lora.items() if "lora_B" in name)
    said = json.loads((tmp_path / "lora" / "lora" / "sampling.json").read_text())
    assert said["guidance_scale"] == said["memory_guidance_scale"] == 1.0
    assert json.loads((tmp_path / "full" / "model" / "sampling.json").read_text())["guidance_scale"] == 1.0


def test_the_gradient_is_that_of_the_judge_through_the_step(small_model: Path, tmp_path: Path) -> None:
    """Of one shot and its last step, after which nothing is left to be taken as given."""
    model = louder(small_model, tmp_path / "model")
    stage = memory_stage(model, tmp_path / "out", "train=full", "batch_size=1", "conditioning.drop_memory=0")
    task: Any = MemoryRun(stage, make_accelerator(stage)).task("model")
    task._steps = [[2]]  # the last of three
    task.module.requires_grad_(True)
    task.loss(task.module, 0, 0).backward()
    weights = dict(task.module.named_parameters())
    said = {name: weight.grad.clone() for name, weight in weights.items() if weight.grad is not None}

    batch, text = task._made(0, 0)
    conditions = conditions_of(batch, task.geometry, 5)
    made, level = task.make(task.module, batch, text, conditions, [2]), task._levels[2]
    number = batch.memory.shape[2]
    task.module.zero_grad()
    velocity = task.module(made.given[2], torch.tensor([1000 * level]), text, conditions[0].positions)[0]
    velocity = velocity[:, :, number:]
    end = made.latents + level * (velocity.detach() - velocity)  # the same place, with a way back
    (length,) = torch.autograd.grad(task._judged(end, batch).loss.sum(), end, retain_graph=True)
    (task._judged(end, batch).loss.sum() / length.norm()).backward()
    assert said
    for name, gradient in said.items():
        off = (gradient * level - weights[name].grad).norm()
        assert off <= 1e-4 * weights[name].grad.norm(), name  # single numbers of it round as the processor does


def test_the_judge_is_told_which_setting_each_clip_should_have(small_model: Path, tmp_path: Path) -> None:
    stage = memory_stage(small_model, tmp_path / "out", "batch_size=3")
    task: Any = MemoryRun(stage, make_accelerator(stage)).task("model")
    batch, _ = task._made(0, 0)
    heard = []
    task._judge, judge = lambda *given: heard.append(given[2]) or judge(*given), task._judge
    task.wanted(batch.latents, batch)
    assert heard[0].tolist() == [list(clip) for clip in batch.clips]  # so says the toy
    plans = plan_batch(stage.seed, 0, 0, table=task.store.table(0), config=stage.conditioning, batch=3, rank=0,
                       world_size=1, stratified=True)  # fmt: skip
    assert batch.clips == tuple((plan.group, plan.clip) for plan in plans.samples)


@pytest.mark.parametrize("experts", [1, 2])
def test_all_but_the_subjects_can_be_kept_as_the_guided_model_has_it(
    small_model: Path, tmp_path: Path, experts: int
) -> None:
    """As far as the guided model says what the model in training says: nearer to it than without."""
    model = louder(small_model, tmp_path / "model", experts=experts)
    learning = ("train=full", "steps=12", "batch_size=4", "optimizer.learning_rate=5e-3", "ema.decay=0",
                "noise.shift=1", "distil={guidance_scale: 2.0, memory_guidance_scale: 2.0}")  # fmt: skip
    away = {}
    for keep in (1e-6, 3.0):
        out = tmp_path / str(keep)
        train(memory_stage(model, out, *learning, f"reward.keep={keep}"))
        stage = memory_stage(model, out, *learning, "reward.keep=1")
        task: Any = MemoryRun(stage, make_accelerator(stage)).task("model" if experts == 1 else "both")
        batch, text = task._made(0, 0)
        conditions = conditions_of(batch, task.geometry, 5)
        made = task.make(task.module, batch, text, conditions, [0, 2])
        after = MemoryRun(memory_stage(out / "model", tmp_path / "again", *learning, "reward.keep=1"),
                          make_accelerator(stage)).task(task.name).module  # fmt: skip
        number, elsewhere, sums = batch.memory.shape[2], task._elsewhere(batch, None), []
        assert 0 < elsewhere.mean() < 1
        for step, given in made.given.items():
            asked = (given, task._timesteps(step, batch), text, conditions[0].positions)
            guided = task._teacher.velocity(task.module, *asked, number)
            said = after(*asked)[0][:, :, number:]
            sums.append(float((elsewhere * (said - guided).square()).sum()))
        away[keep] = sum(sums)
    assert away[3.0] < 0.7 * away[1e-6], away


def test_what_should_not_be_there_is_not_held_on_to(small_model: Path, tmp_path: Path) -> None:
    stage = memory_stage(louder(small_model, tmp_path / "model"), tmp_path / "out")
    task: Any = MemoryRun(stage, make_accelerator(stage)).task("model")
    batch, _ = task._made(0, 0)
    without = task._elsewhere(batch, None)
    assert torch.equal(task._elsewhere(batch, torch.zeros(len(batch.latents), 32, 32, dtype=torch.bool)), without)
    stray = torch.zeros(len(batch.latents), 24, 48, dtype=torch.bool)  # a judge looks at pictures of its own size
    stray[0, 3, 4] = True
    left = task._elsewhere(batch, stray)
    assert torch.equal(left[1:], without[1:])
    row, column = (at * size // own for at, size, own in zip((3, 4), left.shape[-2:], (24, 48), strict=True))
    assert not left[0, :, :, row, column].any()
    assert (left <= without).all()


def test_where_the_judge_is_not_heard_all_stays_as_the_guided_model_has_it(small_model: Path, tmp_path: Path) -> None:
    model = louder(small_model, tmp_path / "model")
    stage = memory_stage(model, tmp_path / "out", "train=full", "batch_size=1", "conditioning.drop_memory=0",
                         "noise.shift=1", "distil={guidance_scale: 2.0}", "reward.keep=0.5")  # fmt: skip

    def learned(step: int, *overrides: tuple[str, float]) -> tuple[Any, dict[str, torch.Tensor]]:
        own = stage.model_validate({**stage.model_dump(), "reward": {**stage.reward.model_dump(), **dict(overrides)}})
        task: Any = MemoryRun(own, make_accelerator(own)).task("model")
        task._steps = [[step]]
        task.loss(task.module, 0, 0).backward()
        weights = task.module.named_parameters()
        return task, {name: weight.grad.clone() for name, weight in weights if weight.grad is not None}

    task, above = learned(0, ("judge_below", 0.9))
    batch, text = task._made(0, 0)
    given = task.make(task.module, batch, text, conditions_of(batch, task.geometry, 5), [0]).given[0]
    asked = (given, task._timesteps(0, batch), text, conditions_of(batch, task.geometry, 5)[0].positions)
    number = batch.memory.shape[2]
    task.module.zero_grad()
    off = task.module(*asked)[0][:, :, number:] - task._teacher.velocity(task.module, *asked, number)
    (0.5 * off.square().sum() / 2).backward()
    for name, weight in task.module.named_parameters():
        if name in above:
            assert (above[name] - weight.grad).norm() <= 1e-4 * weight.grad.norm(), name
    (_, heard), (_, below) = learned(2), learned(2, ("judge_below", 0.9))
    assert all(torch.equal(below[name], gradient) for name, gradient in heard.items())
    (_, heard), (_, deaf) = learned(2), learned(2, ("judge_below", 0.2))
    assert not all(torch.equal(deaf[name], gradient) for name, gradient in heard.items())


def test_without_keep_nothing_is_learned_where_the_judge_is_not_heard(small_model: Path, tmp_path: Path) -> None:
    model = louder(small_model, tmp_path / "model", experts=2)
    stage = memory_stage(model, tmp_path / "out", "train=full", "noise.shift=1", "reward.judge_below=0.9")
    task: Any = MemoryRun(stage, make_accelerator(stage)).task("both")
    assert task._steps == [[1], [2]]  # not t = 1
    stage = memory_stage(model, tmp_path / "out", "train=full", "noise.shift=1", "reward.judge_below=0.6")
    with pytest.raises(SettingsError, match=r"none of them is between the noise levels 0.6 and 1, .* and below reward"):
        MemoryRun(stage, make_accelerator(stage)).task("both")


def test_gradients_of_one_expert_do_not_scale_down_those_of_the_other(small_model: Path, tmp_path: Path) -> None:
    model = louder(small_model, tmp_path / "model", experts=2)
    stage = memory_stage(model, tmp_path / "out", "train=full", "noise.shift=1")
    accelerator = make_accelerator(stage)
    pair: Any = MemoryRun(stage, accelerator).task("both").module
    for expert, size in ((pair.high, 3.0), (pair.low, 1e-4)):
        for weight in expert.parameters():
            weight.grad = torch.full_like(weight, size)
    norms = [float(norm) for norm in _scale_down(accelerator, pair, 1.0)]
    assert norms[0] > 1 > norms[1]
    high = torch.cat([weight.grad.flatten() for weight in pair.high.parameters()])
    assert float(high.norm()) == pytest.approx(1, rel=1e-3)
    assert all((weight.grad == 1e-4).all() for weight in pair.low.parameters())


def test_both_experts_learn_from_the_same_shots(small_model: Path, tmp_path: Path) -> None:
    model = louder(small_model, tmp_path / "model", experts=2)
    stage = memory_stage(model, tmp_path / "out", "train=full", "steps=2", "noise.shift=1")
    task: Any = MemoryRun(stage, make_accelerator(stage)).task("both")
    assert task._steps == [[0, 1], [2]]  # t = 1, 0.67, 0.33; the boundary is 0.6
    asked = []
    for name, expert in (("high", task.module.high), ("low", task.module.low)):
        expert.register_forward_pre_hook(lambda _, inputs, name=name: asked.append((name, float(inputs[1][0]))))
    task.loss(task.module, 0, 0)
    assert [name for name, _ in asked] == ["high", "high", "low", "high", "low"]  # the shots, and what is learned
    train(stage)
    assert changed_experts(model, tmp_path / "out" / "model") == {"transformer", "transformer_2"}


@pytest.mark.parametrize(
    ("boundary", "steps", "shift"), [(0.9, 4, 3.0), (0.9, 10, 1.0), (0.9, 14, 5.0), (0.7, 10, 1.0)]
)
def test_a_step_at_the_boundary_is_the_upper_experts_alone(
    small_model: Path, tmp_path: Path, boundary: float, steps: int, shift: float
) -> None:
    model = louder(small_model, tmp_path / "model", experts=2)
    index = json.loads((model / "model_index.json").read_text())
    (model / "model_index.json").write_text(json.dumps({**index, "boundary_ratio": boundary}))
    given = ("train=full", f"noise.shift={shift}", f"reward.steps={steps}")
    task: Any = MemoryRun(stage := memory_stage(model, tmp_path / "out", *given), make_accelerator(stage)).task("both")
    assert task._levels.count(boundary) == 1
    asked: list[str] = []
    for name, expert in (("high", task.module.high), ("low", task.module.low)):
        expert.register_forward_pre_hook(lambda _, __, name=name: asked.append(name))
    task.loss(task.module, 0, 0)
    assert asked[:steps] == ["high"] * len(task._steps[0]) + ["low"] * len(task._steps[1])


def test_an_expert_that_is_not_trained_stays(small_model: Path, tmp_path: Path) -> None:
    model = louder(small_model, tmp_path / "model", experts=2)
    for name, component in (("high", "transformer"), ("low", "transformer_2")):
        stage = memory_stage(model, tmp_path / name, "train=full", "steps=2", "noise.shift=1", f"expert={name}")
        train(stage)
        assert changed_experts(model, tmp_path / name / "model") == {component}


def test_the_expert_that_is_only_asked_computes_in_the_type_of_the_other(small_model: Path, tmp_path: Path) -> None:
    model = louder(small_model, tmp_path / "model", experts=2)
    stage = memory_stage(model, tmp_path / "out", "noise.shift=1", "expert=high", "runtime.base_dtype=bfloat16")
    module: Any = MemoryRun(stage, make_accelerator(stage)).task("high").module
    assert module.high.transformer.dtype == module.low.transformer.dtype == torch.bfloat16


def test_a_lora_of_each_expert_is_written(small_model: Path, tmp_path: Path) -> None:
    model = louder(small_model, tmp_path / "model", experts=2)
    train(memory_stage(model, tmp_path / "out", "steps=2", "noise.shift=1"))
    written = sorted(path.name for path in (tmp_path / "out" / "lora").glob("*.safetensors"))
    assert written == ["backbone_high_noise.safetensors", "backbone_low_noise.safetensors"]
    for name in written:
        lora = load_file(tmp_path / "out" / "lora" / name)
        assert any(weight.any() for key, weight in lora.items() if "lora_B" in key), name


def changed_experts(before: Path, after: Path) -> set[str]:
    """Of two model folders."""
    one, other = (load_components(folder) for folder in (before, after))
    return {
        name
        for name in ("transformer", "transformer_2")
        if any(
            not torch.equal(weight, getattr(other, name).state_dict()[key])
            for key, weight in getattr(one, name).state_dict().items()
        )
    }


def test_a_clip_that_is_badly_wrong_asks_for_no_more_than_the_middle_one(small_model: Path, tmp_path: Path) -> None:
    stage = memory_stage(small_model, tmp_path / "out", "train=full", "reward.options={sharpness: 20}")
    task: Any = MemoryRun(stage, make_accelerator(stage)).task("model")
    batch, _ = task._made(0, 0)
    latents = torch.randn(batch.latents.shape, generator=torch.Generator().manual_seed(0)) * 3
    latents.requires_grad_()
    (plain,) = torch.autograd.grad(task._judged(latents, batch).loss.sum(), latents)
    _, gradient = task.wanted(latents, batch)
    before, after = (some.flatten(1).norm(dim=1) for some in (plain, gradient))
    assert before.max() > 1.1 * before.median()
    torch.testing.assert_close(after, (before / before.median()).clamp(max=1))


def test_it_goes_on_where_it_was(small_model: Path, tmp_path: Path) -> None:
    model = louder(small_model, tmp_path / "model")
    for name, sittings in (("whole", (4,)), ("parts", (2, 4))):
        for steps in sittings:
            train(memory_stage(model, tmp_path / name, "train=full", f"steps={steps}"))
    whole, parts = ((tmp_path / name / "model" / "transformer" / "diffusion_pytorch_model.safetensors").read_bytes()
                    for name in ("whole", "parts"))  # fmt: skip
    assert whole == parts


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ((REWARD,), "reward makes shots without guidance by the prompt: set conditioning.drop_prompt to 0"),
        ((REWARD, ALONE, "distil={guidance_scale: 2}"), "distil and reward say different things"),
        ((REWARD, ALONE, "reward.keep=1"), "reward.keep needs distil"),
        ((REWARD, ALONE, "reward.keep=1", "distil={guidance_scale: 2}"), "reward.keep needs train: full"),
        ((REWARD, ALONE, "tokens={clip: 0.5}"), "tokens.clip does nothing with reward"),
        ((REWARD, ALONE, "noise.distribution=logit_normal"), "noise.distribution does nothing with reward"),
        ((REWARD, ALONE, "sample.guidance_scale=2"), "sample.guidance_scale does nothing with reward"),
        (("reward={steps: 1}", ALONE), "reward.steps: is 1; input should be greater than or equal to 2"),
        (("reward={step: 4}", ALONE), "known are steps, keep, judge_below, options"),
        (("reward={judge_below: 0}", ALONE), "reward.judge_below: is 0; input should be greater than 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    small_model: Path, tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        toys.stage(toys.MEMORY, tmp_path, f"model={small_model}", *overrides)


def test_a_world_must_know_its_subjects_and_have_a_judge(small_model: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"reward is set, but squares does not say where .* subjects are"):
        train(toys.stage(toys.MEMORY, tmp_path / "a", f"model={small_model}", ALONE, REWARD))
    with pytest.raises(SettingsError, match=r"reward.options: squares know sharpness"):
        train(memory_stage(small_model, tmp_path / "b", "reward.options={sharpnes: 1}"))
    model = louder(small_model, tmp_path / "model", experts=2)
    with pytest.raises(SettingsError, match=r"reward.steps is 2: .* between the noise levels 0 and 0.6.* raise it"):
        train(memory_stage(model, tmp_path / "c", "reward.steps=2", "expert=low"))
    from storymem.training.judging import open_judge

    with pytest.raises(SettingsError, match=r"circles has no judge; worlds with one: .*squares"):
        open_judge("circles", {})


def test_footage_has_no_judge(small_model: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="reward needs a world"):
        toys.on_footage(toys.MEMORY, tmp_path, tmp_path, f"model={small_model}", ALONE, REWARD, data="held_out: 0")


def test_shots_are_made_as_the_pipeline_makes_them(small_model: Path, tmp_path: Path) -> None:
    model = louder(small_model, tmp_path / "model", experts=2)
    stage = memory_stage(model, tmp_path / "out", "train=full", "batch_size=1", "conditioning.drop_memory=0",
                         "conditioning.first_frame=0", "noise.shift=1")  # fmt: skip
    task: Any = MemoryRun(stage, make_accelerator(stage)).task("both")
    batch, text = task._made(0, 0)
    (condition,) = conditions_of(batch, task.geometry, 5)
    made = task.make(task.module, batch, text, [condition])
    pipe = StoryMemPipeline.from_components(load_components(model, dtype=torch.float32))
    pipe.set_progress_bar_config(disable=True)
    sampling = SamplingConfig(width=32, height=32, num_frames=5, num_inference_steps=3, solver="euler", shift=1.0,
                              guidance_scale=1.0)  # fmt: skip
    theirs = pipe(batch.prompts[0], condition=condition, sampling=sampling, latents=task._noise(batch),
                  output_type="latent").latents  # fmt: skip
    torch.testing.assert_close(made.latents, condition.video(theirs), atol=1e-4, rtol=1e-4)


def test_blocks_of_both_experts_and_of_the_teacher_are_compiled(small_model: Path, tmp_path: Path) -> None:
    model = louder(small_model, tmp_path / "model", experts=2)
    stage = memory_stage(model, tmp_path / "out", "train=full", "reward.keep=1", "noise.shift=1",
                         "distil={guidance_scale: 2.0}")  # fmt: skip
    task: Any = MemoryRun(stage, make_accelerator(stage)).task("both")
    (teacher,) = task.beside
    for block in task.module.low.transformer.blocks:  # as FSDP2 does
        block.__class__ = type("FSDPWanTransformerBlock", (type(block),), {})
    compile_blocks((task.module, *task.beside), dynamic=True)
    for network in (*task.module.networks, *teacher.networks):
        assert all(block._compiled_call_impl is not None for block in network.transformer.blocks)


def test_clips_can_be_encoded_in_another_thread_while_shots_are_judged(small_model: Path, tmp_path: Path) -> None:
    """The VAE remembers frames between its chunks, so each of the two needs its own."""
    stage = memory_stage(small_model, tmp_path / "out")
    run = MemoryRun(stage, make_accelerator(stage))
    task: Any = run.task("model")
    assert task._codec.vae is not run.vae
    assert run.codec.vae is run.vae
    batch, _ = task._made(0, 0)
    assert torch.equal(task._codec.decode(batch.latents), run.codec.decode(batch.latents))
