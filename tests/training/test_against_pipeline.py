"""What the transformer sees in training is what it sees in the pipeline."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toys import CHECKPOINT

from storymem.conditioning.codec import LatentCodec
from storymem.models.checkpoints import load_components
from storymem.pipeline import StoryMemPipeline
from storymem.settings import Blank, SamplingConfig
from storymem.training.clips import Clip
from storymem.training.denoise import Geometry, conditions_of
from storymem.training.encode import SourceLoader
from storymem.training.networks import Denoiser
from storymem.training.objective import transformer_input
from storymem.training.plan import BatchPlan, MemorySlot, SamplePlan
from storymem.training.sections import AugmentSection, DataSection
from storymem.training.store import ClipStore
from storymem.training.text import PromptCache, Text, embed_tokens, tokenize

SIZE, FRAMES = 32, 9


class TwoClips:
    """One group of two clips of noise."""

    identity = "noise"

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.clips = [
            Clip(torch.rand(3, FRAMES, SIZE, SIZE, generator=generator) * 2 - 1, (f"clip {number}",))
            for number in range(2)
        ]

    def __len__(self) -> int:
        return 1

    def size(self, index: int) -> int:
        return 2

    def group(self, index: int) -> list[Clip]:
        return self.clips

    def subjects(self, index: int, clip: int) -> list[list[int]]:
        return [[1 - clip]]

    def captions(self, count: int) -> list[str]:
        return ["clip 0", "clip 1"]


@pytest.fixture(scope="module")
def pipe() -> StoryMemPipeline:
    pipe = StoryMemPipeline.from_components(load_components(CHECKPOINT, dtype=torch.float32))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def seen_by(module: torch.nn.Module, calls: list[dict[str, Any]]) -> Any:
    """Record what a transformer is called with, and its rotary table."""

    def hook(called: Any, args: Any, kwargs: dict[str, Any]) -> None:
        rotary = called.rope(kwargs["hidden_states"])
        calls.append({name: value for name, value in kwargs.items() if name != "return_dict"} | {"rotary": rotary})

    return module.register_forward_pre_hook(hook, with_kwargs=True)


@pytest.mark.parametrize("num_known", [0, 1, 5])
@pytest.mark.parametrize(("num_memory", "blank"), [(0, "zeros"), (3, "zeros"), (0, "gradient"), (3, "gradient")])
def test_the_transformer_sees_the_same(pipe: StoryMemPipeline, num_known: int, num_memory: int, blank: Blank) -> None:
    source = TwoClips()
    codec = LatentCodec(pipe.vae)
    still = AugmentSection(probability=0)
    loader = SourceLoader(source, codec, seed=3, known=(1, 5), keyframes=FRAMES, variants=0, config=still, empty=blank)
    data = DataSection(world="noise", width=SIZE, height=SIZE, num_frames=FRAMES, keyframes_per_clip=FRAMES, variants=0)
    store = ClipStore(loader, data, windowed=True)
    slots = tuple(MemorySlot(1, number, 0) for number in (2, 4, 7)[:num_memory])  # all frames are keyframes: in order
    sample = SamplePlan(0, 0, 0.0, num_known, slots, 0.5, 11)
    batch = store.gather(BatchPlan(num_memory, (sample,)), "cpu")
    geometry = Geometry(FRAMES, SIZE, SIZE, codec.temporal_factor, codec.spatial_factor)
    conditions = conditions_of(batch, geometry, 5)

    # Sampling: the first step of the pipeline, on pixels.
    clips = [clip.frames for clip in source.clips]
    noise = torch.randn(conditions[0].layout.latents_shape(16), generator=torch.Generator().manual_seed(4))
    sampled: list[dict[str, Any]] = []
    handle = seen_by(pipe.transformer, sampled)
    pipe(
        "clip 0",
        memory=[clips[1][:, slot.keyframe] for slot in slots],
        known_frames=[clips[0][:, i] for i in range(num_known)],
        sampling=SamplingConfig(
            width=SIZE, height=SIZE, num_frames=FRAMES, num_inference_steps=1, guidance_scale=1.0, blank=blank
        ),
        latents=noise,
        output_type="latent",
    )
    handle.remove()

    # Training: the same noise as a noisy clip at the same level.
    trained: list[dict[str, Any]] = []
    handle = seen_by(pipe.transformer, trained)
    states = transformer_input(noise, conditions, 36, torch.float32)
    prompts = PromptCache(pipe.tokenizer, pipe.text_encoder, "cpu")
    with torch.no_grad():
        text = Text(prompts(batch.prompts))
        Denoiser(pipe.transformer)(states, torch.tensor([999.0]), text, conditions[0].positions)
    handle.remove()

    ours, theirs = trained[0], sampled[0]
    # The condition was encoded in a batch here, alone there, which may round otherwise; the rest is the same bits.
    torch.testing.assert_close(ours["hidden_states"], theirs["hidden_states"], atol=2e-5, rtol=1e-5)
    assert torch.equal(ours["hidden_states"][:, :20], theirs["hidden_states"][:, :20])
    assert torch.equal(ours["encoder_hidden_states"], theirs["encoder_hidden_states"])
    assert ours["timestep"].tolist() == theirs["timestep"].float().tolist()
    for a, b in zip(ours["rotary"], theirs["rotary"], strict=True):
        assert torch.equal(a, b)


def test_the_input_is_bitwise_that_of_the_pipeline_for_the_same_condition(pipe: StoryMemPipeline) -> None:
    generator = torch.Generator().manual_seed(0)
    memory = [torch.rand(3, SIZE, SIZE, generator=generator).numpy() * 2 - 1 for _ in range(2)]
    sampling = SamplingConfig(width=SIZE, height=SIZE, num_frames=FRAMES, num_inference_steps=1, guidance_scale=1.0)
    condition = pipe.encode_condition(sampling, memory, [memory[0]])
    noise = torch.randn(condition.layout.latents_shape(16), generator=generator)
    sampled: list[dict[str, Any]] = []
    handle = seen_by(pipe.transformer, sampled)
    pipe("x", condition=condition, sampling=sampling, latents=noise, output_type="latent")
    handle.remove()
    assert torch.equal(transformer_input(noise, [condition], 36, torch.float32), sampled[0]["hidden_states"])


def test_prompts_are_embedded_as_the_pipeline_does(pipe: StoryMemPipeline) -> None:
    texts = ["A red fox  in the snow &amp; ice.", ""]
    ids, mask = tokenize(pipe.tokenizer, texts)
    with torch.no_grad():
        ours = embed_tokens(pipe.text_encoder, ids, mask)
    for row, text in zip(ours, texts, strict=True):
        torch.testing.assert_close(row[None], pipe.embed_text(text), atol=1e-6, rtol=1e-5)
