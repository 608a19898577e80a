from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLWan
from PIL import Image

from storymem.conditioning.codec import blank_frame
from storymem.conditioning.condition import ShotCondition
from storymem.conditioning.rope import use_positions
from storymem.errors import ModelError, SettingsError
from storymem.guidance import Guidance
from storymem.models.checkpoints import load_components
from storymem.models.lora import load_lora, merge_lora
from storymem.pipeline import StoryMemPipeline, StoryMemPipelineOutput, text_length
from storymem.settings import SamplingConfig

SMALL = SamplingConfig(width=48, height=32, num_frames=5, num_inference_steps=3, shift=4.0, guidance_scale=3.5)


@pytest.fixture(scope="module")
def pipe(checkpoint: Path) -> StoryMemPipeline:
    parts = load_components(checkpoint, dtype=torch.float32)
    lora = load_lora(checkpoint / "StoryMem" / "Wan2.2-MI2V-A14B")
    merge_lora(parts.transformer, lora.high)
    merge_lora(parts.transformer_2, lora.low)
    pipe = StoryMemPipeline.from_components(parts)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def frame(seed: int, height: int = 32, width: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (3, height, width)).astype(np.float32)


def shot(
    pipe: StoryMemPipeline, *, sampling: SamplingConfig = SMALL, seed: int = 0, **kwargs: Any
) -> StoryMemPipelineOutput:
    kwargs.setdefault("output_type", "raw")
    return pipe(
        kwargs.pop("prompt", "a fox walks"),
        sampling=sampling,
        generator=torch.Generator().manual_seed(seed),
        **kwargs,
    )


def difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


MODES: dict[str, Callable[[], dict[str, Any]]] = {
    "t2v": dict,
    "m2v": lambda: {"memory": [frame(1), frame(2)]},
    "i2v": lambda: {"known_frames": [frame(3)]},
    "mi2v": lambda: {"memory": [frame(1)], "known_frames": [frame(3)]},
    "mm2v": lambda: {"memory": [frame(1)], "known_frames": [frame(i) for i in range(5)]},
}


@pytest.mark.parametrize("mode", MODES)
def test_one_call_serves_every_mode(pipe: StoryMemPipeline, mode: str) -> None:
    sampling = dataclasses.replace(SMALL, num_frames=9)
    out = shot(pipe, sampling=sampling, **MODES[mode]())
    assert out.condition.mode == mode
    assert out.frames.shape == (3, 9, 32, 48)
    assert out.frames.abs().max() <= 1
    assert out.latents.shape == out.condition.layout.latents_shape()


def test_memory_known_frames_stride_and_prompt_all_reach_the_picture(pipe: StoryMemPipeline) -> None:
    latents = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(7))

    def video(**kwargs: Any) -> torch.Tensor:
        return shot(pipe, latents=latents, **{"memory": [frame(1)], **kwargs}).frames

    plain = video()
    assert torch.equal(plain, video())
    assert difference(video(memory=[frame(2)]), plain) > 1e-3
    assert difference(video(prompt="a blue hat by the window"), plain) > 1e-3
    assert difference(video(negative_prompt="blurry"), plain) > 1e-3
    assert difference(video(sampling=dataclasses.replace(SMALL, memory_stride=1)), plain) > 1e-3
    assert difference(video(sampling=dataclasses.replace(SMALL, guidance_scale=1.0)), plain) > 1e-3
    assert difference(video(known_frames=[frame(9)]), plain) > 1e-3


def test_known_frames_are_not_overwritten_by_the_zeros(pipe: StoryMemPipeline) -> None:
    """The fault of the released code: its first frame was encoded and then lost."""
    condition = pipe.encode_condition(SMALL, known_frames=[frame(3)])
    alone = pipe.codec.encode(torch.from_numpy(frame(3))[None, :, None])
    assert difference(condition.condition_latents[:, :, :1], alone) < 1e-5  # the VAE is causal
    blank = pipe.encode_condition(SMALL).condition_latents
    assert difference(condition.condition_latents[:, :, :1], blank[:, :, :1]) > 0.1


def test_what_is_not_known_may_be_a_gradient(pipe: StoryMemPipeline) -> None:
    """From dark to red to the right, and to green to the bottom; known frames stay in front of it."""
    picture = blank_frame("gradient", 32, 48)
    assert (picture[0, :, 0] == -1).all()
    assert (picture[0, :, -1] == 1).all()
    assert (picture[1, 0] == -1).all()
    assert (picture[1, -1] == 1).all()
    assert not picture[2].any()
    assert not blank_frame("zeros", 32, 48).any()
    sampling = dataclasses.replace(SMALL, blank="gradient")
    grey, blank = (pipe.encode_condition(config).condition_latents for config in (SMALL, sampling))
    frames = blank_frame("gradient", SMALL.height, SMALL.width)[None, :, None].repeat(1, 1, SMALL.num_frames, 1, 1)
    assert difference(blank, pipe.codec.encode(frames)) < 1e-5
    assert difference(blank, grey) > 0.1
    assert torch.equal(pipe.encode_condition(sampling).condition_latents, blank)
    frames[0, :, 0] = torch.from_numpy(frame(3))
    known = pipe.encode_condition(sampling, known_frames=[frame(3)]).condition_latents
    assert difference(known, pipe.codec.encode(frames)) < 1e-5


def test_batched_guidance_is_sequential_guidance(pipe: StoryMemPipeline) -> None:
    batched = dataclasses.replace(SMALL, batch_cfg=True)
    assert difference(shot(pipe, sampling=batched).latents, shot(pipe).latents) < 1e-5


def test_memory_guidance_leads_away_from_the_shot_without_memory(pipe: StoryMemPipeline) -> None:
    """In one Euler step the result is linear in the velocity, so what it should be can be put together from outside."""
    plain = dataclasses.replace(SMALL, num_inference_steps=1, solver="euler", guidance_scale=1.0)
    led = dataclasses.replace(plain, memory_guidance_scale=2.5)
    noise = torch.randn(1, 16, 2 + 2, 4, 6, generator=torch.Generator().manual_seed(7))
    known = {"known_frames": [frame(9)]}
    given = {"memory": [frame(1), frame(2)], "latents": noise, **known}
    remembered = shot(pipe, sampling=plain, **given).latents
    alone = shot(pipe, sampling=plain, latents=noise[:, :, 2:], **known).latents
    found = shot(pipe, sampling=led, **given).latents
    own = remembered[:, :, 2:]
    assert difference(found[:, :, 2:], own + 1.5 * (own - alone)) < 1e-5
    assert torch.equal(found[:, :, :2], remembered[:, :, :2])
    assert difference(found[:, :, 2:], own) > 1e-3
    # Beside guidance by the prompt it adds the same again; without memory there is nothing to be led by.
    both, prompted = (shot(pipe, sampling=dataclasses.replace(s, guidance_scale=3.5), **given) for s in (led, plain))
    added = both.latents - prompted.latents
    assert difference(added[:, :, 2:], 1.5 * (own - alone)) < 1e-4
    assert torch.equal(shot(pipe, sampling=led, **known).latents, shot(pipe, sampling=plain, **known).latents)


@pytest.mark.parametrize("solver", ["unipc", "dpm++", "euler"])
def test_every_solver_arrives(pipe: StoryMemPipeline, solver: str) -> None:
    """With many steps all solvers follow the same flow, so they must agree."""
    fine = dataclasses.replace(SMALL, num_inference_steps=60, guidance_scale=1.0, solver=solver)
    latents = torch.randn(1, 16, 2, 4, 6, generator=torch.Generator().manual_seed(7))
    reference = shot(pipe, sampling=dataclasses.replace(fine, solver="unipc", num_inference_steps=120), latents=latents)
    assert difference(shot(pipe, sampling=fine, latents=latents).latents, reference.latents) < 0.05


def test_experts_take_over_at_the_boundary(pipe: StoryMemPipeline) -> None:
    """All steps on one expert differ from a change between them, whichever one it is."""
    latents = torch.randn(1, 16, 2, 4, 6, generator=torch.Generator().manual_seed(7))

    def at(boundary: float | None) -> torch.Tensor:
        return shot(pipe, sampling=dataclasses.replace(SMALL, boundary_ratio=boundary), latents=latents).latents

    assert torch.equal(at(None), at(0.9))  # the model's own
    assert difference(at(0.0), at(0.9)) > 1e-3
    assert difference(at(1.0), at(0.9)) > 1e-3


def test_the_noise_is_one_float32_draw_for_memory_and_shot(pipe: StoryMemPipeline) -> None:
    noise = torch.randn(16, 2 + 2, 4, 6, generator=torch.Generator().manual_seed(11))
    drawn = shot(pipe, seed=11, memory=[frame(1), frame(2)])
    given = shot(pipe, seed=99, memory=[frame(1), frame(2)], latents=noise[None])
    assert torch.equal(drawn.latents, given.latents)


def test_nothing_is_encoded_twice(checkpoint: Path) -> None:
    pipe = StoryMemPipeline.from_components(load_components(checkpoint, dtype=torch.float32))
    pipe.set_progress_bar_config(disable=True)
    first = pipe.encode_condition(SMALL, memory=[frame(1), frame(2)])
    assert pipe.codec.frames_encoded == 2 + SMALL.num_frames  # two keyframes, and the blank shot
    second = pipe.encode_condition(SMALL, memory=[frame(1), frame(2)])
    assert pipe.codec.frames_encoded == 2 + SMALL.num_frames
    assert torch.equal(first.latents, second.latents)
    pipe.encode_condition(SMALL, memory=[frame(1), frame(4)])
    assert pipe.codec.frames_encoded == 3 + SMALL.num_frames


def test_only_the_decoder_works_in_tiles(pipe: StoryMemPipeline) -> None:
    pixels = torch.from_numpy(frame(1, 288, 320))[None, :, None]
    whole = pipe.codec.encode(pixels)
    pipe.vae.enable_tiling()
    try:
        assert torch.equal(pipe.codec.encode(pixels), whole)
        assert pipe.vae.use_tiling
    finally:
        pipe.vae.disable_tiling()


def test_a_keyframes_latents_do_not_depend_on_the_company(pipe: StoryMemPipeline) -> None:
    alone = pipe.encode_condition(SMALL, memory=[frame(1)]).memory_latents
    together = pipe.encode_condition(SMALL, memory=[frame(5), frame(1)]).memory_latents
    assert torch.equal(alone[:, :, 0], together[:, :, 1])


def test_pictures_of_any_size_and_form_are_memory(pipe: StoryMemPipeline) -> None:
    array = frame(1)
    image = Image.fromarray(((array.transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8))
    exact = pipe.encode_condition(SMALL, memory=[array])
    for form in (image, torch.from_numpy(array)):
        assert difference(pipe.encode_condition(SMALL, memory=[form]).memory_latents, exact.memory_latents) < 0.02
    assert pipe.encode_condition(SMALL, memory=[frame(1, 64, 64)]).layout.num_memory == 1


def test_an_encoded_condition_can_be_given(pipe: StoryMemPipeline) -> None:
    condition = pipe.encode_condition(SMALL, memory=[frame(1)])
    assert isinstance(condition, ShotCondition)
    assert torch.equal(shot(pipe, condition=condition).frames, shot(pipe, memory=[frame(1)]).frames)


def test_saved_and_loaded_again_it_makes_the_same_shot(pipe: StoryMemPipeline, tmp_path: Path) -> None:
    before = shot(pipe, memory=[frame(1)]).frames
    pipe.save_pretrained(tmp_path / "model")
    again = StoryMemPipeline.from_pretrained(tmp_path / "model", torch_dtype=torch.float32)
    again.set_progress_bar_config(disable=True)
    assert again.config.boundary_ratio == 0.9
    assert difference(shot(again, memory=[frame(1)]).frames, before) < 1e-5


def test_a_callback_sees_and_may_change_every_step(pipe: StoryMemPipeline) -> None:
    seen: list[int] = []

    def stop(
        pipeline: StoryMemPipeline, step: int, t: torch.Tensor, kwargs: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        seen.append(step)
        return {"latents": torch.zeros_like(kwargs["latents"])} if step == 2 else {}

    out = shot(pipe, callback_on_step_end=stop)
    assert seen == [0, 1, 2]
    assert not out.latents.any()


@pytest.mark.parametrize("output_type", ["np", "pt", "pil", "latent"])
def test_output_types_of_diffusers(pipe: StoryMemPipeline, output_type: str) -> None:
    frames = shot(pipe, output_type=output_type).frames
    if output_type == "np":
        assert frames.shape == (1, 5, 32, 48, 3)
        assert frames.min() >= 0
    elif output_type == "pt":
        assert frames.shape == (1, 5, 3, 32, 48)
    elif output_type == "pil":
        assert [image.size for image in frames[0]] == [(48, 32)] * 5
    else:
        assert frames is None


def test_a_text_to_video_model_makes_first_shots_and_refuses_memory() -> None:
    pipe = text_to_video_pipeline()
    assert shot(pipe).frames.shape == (3, 5, 32, 48)
    with pytest.raises(SettingsError, match="cannot see memory"):
        shot(pipe, memory=[frame(1)])


def test_a_model_that_wants_image_embeddings_is_refused() -> None:
    with pytest.raises(ModelError, match=r"image_dim 32.* Wan2\.1-I2V"):
        text_to_video_pipeline(in_channels=36, image_dim=32, added_kv_proj_dim=24)


def text_to_video_pipeline(**config: int) -> StoryMemPipeline:
    from diffusers import WanTransformer3DModel

    checkpoint = Path(__file__).parent / "data" / "reference_cases" / "checkpoint"
    parts = load_components(checkpoint, dtype=torch.float32, only={"vae", "text_encoder", "tokenizer"})
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 16, "out_channels": 16}
    sizes |= {"text_dim": 64, "freq_dim": 32, "ffn_dim": 32, "num_layers": 1}
    transformer = WanTransformer3DModel(**{**sizes, **config}).eval()
    pipe = StoryMemPipeline.from_components(dataclasses.replace(parts, transformer=transformer))
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prompt": None}, "prompt or prompt_embeds"),
        ({"output_type": "gif"}, "one of raw"),
        ({"latents": torch.zeros(1, 16, 1, 4, 6)}, "this shot needs"),
        ({"memory": [np.zeros((32, 48, 3))]}, "must be"),
        ({"known_frames": [np.zeros((3, 32, 48))] * 6}, "make the shot longer"),
    ],
)
def test_wrong_arguments_are_one_clear_sentence(pipe: StoryMemPipeline, arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        shot(pipe, **arguments)


def test_what_is_cut_from_a_long_prompt_is_told(pipe: StoryMemPipeline, caplog: pytest.LogCaptureFixture) -> None:
    limit = text_length(pipe.tokenizer)
    pipe.embed_text("fox " * 5)
    assert not caplog.records
    text = "fox " * 3
    while len(pipe.tokenizer(text, add_special_tokens=False).input_ids) < limit:
        text += "fox "
    text += "at last"
    pipe.embed_text(text)
    assert f"reads {limit} tokens" in caplog.text
    assert "fox at last'" in caplog.text or "x at last'" in caplog.text
    pipe.embed_text(text)
    assert len(caplog.records) == 1


def test_a_text_embedded_alone_carries_no_graph(pipe: StoryMemPipeline) -> None:
    pipe.text_encoder.requires_grad_(True)
    try:
        assert not pipe.embed_text("a fox in the snow").requires_grad
    finally:
        pipe.text_encoder.requires_grad_(False)


def test_a_missing_component_is_named(checkpoint: Path) -> None:
    parts = load_components(checkpoint, only={"vae"})
    assert isinstance(parts.vae, AutoencoderKLWan)
    with pytest.raises(ModelError, match="text_encoder"):
        StoryMemPipeline.from_components(parts)


def test_bfloat16_stays_close_to_float32(checkpoint: Path, pipe: StoryMemPipeline) -> None:
    half = StoryMemPipeline.from_components(load_components(checkpoint, dtype=torch.bfloat16))
    half.set_progress_bar_config(disable=True)
    full = StoryMemPipeline.from_components(load_components(checkpoint, dtype=torch.float32))
    full.set_progress_bar_config(disable=True)
    a, b = shot(half, memory=[frame(1)]), shot(full, memory=[frame(1)])
    assert a.latents.dtype == torch.float32
    assert difference(a.latents, b.latents) < 0.1


def test_diffusers_caching_hooks_work_with_both_guidance_branches(pipe: StoryMemPipeline) -> None:
    """A cache that never finds two steps alike changes nothing; one that always does, does."""
    from diffusers import FirstBlockCacheConfig

    sampling = dataclasses.replace(SMALL, num_inference_steps=6)

    def cached(threshold: float) -> torch.Tensor:
        experts = (pipe.transformer, pipe.transformer_2)
        for expert in experts:
            expert.enable_cache(FirstBlockCacheConfig(threshold=threshold))
        try:
            return shot(pipe, sampling=sampling, memory=[frame(1)]).latents
        finally:
            for expert in experts:
                expert.disable_cache()

    plain = shot(pipe, sampling=sampling, memory=[frame(1)]).latents
    assert torch.equal(cached(1e-9), plain)
    assert difference(cached(1e9), plain) > 1e-3


def test_hooks_on_the_positions_reach_every_step(checkpoint: Path) -> None:
    """As those of context parallelism, which shard cosines and sines: they are there before the first shot."""
    pipe = StoryMemPipeline.from_components(load_components(checkpoint, dtype=torch.float32))
    pipe.set_progress_bar_config(disable=True)
    calls: list[torch.nn.Module] = []
    for expert in (pipe.transformer, pipe.transformer_2):
        expert.rope.register_forward_hook(lambda module, _args, _output: calls.append(module))
    shot(pipe, sampling=dataclasses.replace(SMALL, guidance_scale=1.0), memory=[frame(1)])
    assert len(calls) == SMALL.num_inference_steps
    assert {id(module) for module in calls} == {id(pipe.transformer.rope), id(pipe.transformer_2.rope)}


def calls_of(pipe: StoryMemPipeline, sampling: SamplingConfig) -> list[str]:
    """Which expert was asked, call after call, in a shot with a memory."""
    calls: list[str] = []
    hooks = [
        expert.register_forward_hook(lambda _module, _args, _output, name=name: calls.append(name))
        for name, expert in (("high", pipe.transformer), ("low", pipe.transformer_2))
    ]
    try:
        shot(pipe, sampling=sampling, memory=[frame(1)])
    finally:
        for hook in hooks:
            hook.remove()
    return calls


def test_guidance_at_fewer_steps_asks_the_model_less_often(pipe: StoryMemPipeline) -> None:
    led = dataclasses.replace(SMALL, num_inference_steps=6, guidance_scale=3.5, memory_guidance_scale=2.0)
    alone = dataclasses.replace(led, boundary_ratio=0.0)
    assert calls_of(pipe, alone) == ["high"] * 18
    assert calls_of(pipe, dataclasses.replace(alone, guidance_every=3)) == ["high"] * (3 + 1 + 1 + 3 + 1 + 1)
    assert calls_of(pipe, dataclasses.replace(alone, guidance_every=100)) == ["high"] * (3 + 5)
    # What was found of one expert is not said of the other.
    both = calls_of(pipe, dataclasses.replace(led, guidance_every=100))
    change = both.index("low")
    assert both == ["high"] * change + ["low"] * (len(both) - change)
    assert len(both) == 6 + 2 * 2


def test_between_guidance_goes_on_with_what_it_found(pipe: StoryMemPipeline) -> None:
    sampling = dataclasses.replace(SMALL, guidance_scale=3.5, memory_guidance_scale=2.0)
    condition = pipe.encode_condition(sampling, [frame(1)], ())
    embeds = [pipe.embed_text(text) for text in ("a fox", "fog")]
    channels = condition.channels(36, "cpu", torch.float32)
    noise = torch.Generator().manual_seed(3)

    def states() -> torch.Tensor:
        latents = torch.randn(condition.layout.latents_shape(16), generator=noise)
        return torch.cat([latents, channels], dim=1)

    first, second = states(), states()
    t1, t2 = torch.tensor(900.0), torch.tensor(700.0)

    def velocities(**changes: float) -> list[torch.Tensor]:
        guidance = Guidance(dataclasses.replace(sampling, **changes), condition, *embeds)
        with torch.no_grad():
            scale = guidance.sampling.guidance_scale
            return [
                guidance.velocity(pipe.transformer, x, t, scale) for x, t in ((first, t1), (second, t2), (first, t1))
            ]

    plain = velocities(guidance_scale=1.0, memory_guidance_scale=1.0)
    every = velocities()
    sparse = velocities(guidance_every=2)
    assert torch.equal(sparse[0], every[0])
    assert difference(sparse[1], plain[1] + (every[0] - plain[0])) < 1e-5
    assert difference(sparse[1], every[1]) > 1e-4
    assert torch.equal(sparse[2], every[2])


def test_guidance_is_computed_as_it_ever_was(pipe: StoryMemPipeline) -> None:
    """To the last bit: a take that is lost must be made again as it was, by later versions too."""
    sampling = dataclasses.replace(SMALL, guidance_scale=3.5, memory_guidance_scale=2.5)
    condition = pipe.encode_condition(sampling, [frame(1), frame(2)], ())
    embeds, negative = (pipe.embed_text(text) for text in ("a fox", "fog"))
    latents = torch.randn(condition.layout.latents_shape(16), generator=torch.Generator().manual_seed(3))
    states, t = torch.cat([latents, condition.channels(36, "cpu", torch.float32)], dim=1), torch.tensor(900.0)

    def ask(states: torch.Tensor, text: torch.Tensor, positions: tuple[int, ...]) -> torch.Tensor:
        with use_positions([pipe.transformer], positions):
            return pipe.transformer(
                hidden_states=states, timestep=t.expand(1), encoder_hidden_states=text, return_dict=False
            )[0]

    with torch.no_grad():
        found = Guidance(sampling, condition, embeds, negative).velocity(pipe.transformer, states, t, 3.5)
        cond, uncond = (ask(states, text, condition.positions) for text in (embeds, negative))
        alone = ask(condition.video(states), embeds, condition.positions[2:])
    guided = uncond + 3.5 * (cond - uncond)
    assert torch.equal(found[:, :, :2], guided[:, :, :2])
    assert torch.equal(found[:, :, 2:], guided[:, :, 2:] + (2.5 - 1) * (cond[:, :, 2:] - alone))
