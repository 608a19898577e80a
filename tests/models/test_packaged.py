"""The small model that is part of the package: it is there, it is small, and it draws what it is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from storymem.errors import SettingsError
from storymem.models.catalog import entry, sampling_for
from storymem.models.checkpoints import load_components
from storymem.models.lora import apply_lora, load_lora
from storymem.models.store import locate
from storymem.pipeline import StoryMemPipeline
from storymem.settings import SamplingConfig
from storymem.worlds.storyland import render, sample_shot
from storymem.worlds.storyland.reader import load_reader


def test_they_are_small_and_tell_nothing_of_where_they_were_made() -> None:
    files = [path for name in ("storyland", "storyland-fast") for path in locate(name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 40e6
    assert {path.suffix for path in files} <= {".json", ".safetensors"}
    here = str(Path.home())
    for path in files:
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
            assert "_name_or_path" not in text
            assert here not in text


@pytest.fixture(scope="module")
def pipe() -> StoryMemPipeline:
    pipe = StoryMemPipeline.from_components(load_components(locate("storyland")))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def shot(pipe: StoryMemPipeline, prompt: str, memory: tuple[torch.Tensor, ...] = ()) -> torch.Tensor:
    """Frames ``[F, 3, H, W]``."""
    made = pipe(
        prompt,
        memory=memory,
        sampling=sampling_for(entry("storyland")),
        generator=torch.Generator().manual_seed(0),
        output_type="raw",
    )
    return made.frames.transpose(0, 1).contiguous()


def test_a_size_that_tokens_do_not_cover_is_refused(pipe: StoryMemPipeline) -> None:
    own, encoded = sampling_for(entry("storyland")), pipe.codec.frames_encoded
    with pytest.raises(SettingsError, match="width is 208; it must be a multiple of 32, such as 192 or 224"):
        pipe("The fox waves.", memory=[np.zeros((3, 128, 208), np.float32)], sampling=replace(own, width=208))
    assert pipe.codec.frames_encoded == encoded  # before any work


def test_places_look_like_themselves(pipe: StoryMemPipeline) -> None:
    reader = load_reader()
    places = {
        "beach": "on the beach at noon",
        "cave": "in the cave",
        "kitchen": "in the kitchen at noon",
        "mountain": "in the mountains at night",
    }
    look = "a little orange fox with a blue cap and a red scarf"
    found = {
        place: reader.read(shot(pipe, f"Pip, {look}, waves {where}. Medium shot.").numpy()).place
        for place, where in places.items()
    }
    assert sum(place == read for place, read in found.items()) >= 3, found


def test_memory_gives_the_hero_its_colours(pipe: StoryMemPipeline) -> None:
    """A prompt that tells nothing of the looks; memories that show a red hero and a blue one."""
    redness = {}
    for colour in ("red", "blue"):
        specs = (sample_shot(seed, two_heroes=0.0) for seed in range(3000))
        spec = next(spec for spec in specs if spec.actors[0].hero.colour == colour and spec.shot_type == "close-up")
        keyframe = render([spec], 1)[0][:, 0]
        frames = shot(pipe, "The hero waves in the meadow at noon. The sky is cloudy. Close-up.", (keyframe,))
        middle = frames[:, :, 32:112, 72:152].mean(dim=(0, 2, 3))
        redness[colour] = float(middle[0] - middle[2])
    assert redness["red"] > redness["blue"] + 0.2, redness


def test_the_fast_one_says_in_one_call_what_the_model_says_in_three(pipe: StoryMemPipeline) -> None:
    """From the same noise: nearer to what guidance makes than the model is without guidance."""
    spec = next(
        spec for spec in (sample_shot(seed, two_heroes=0.0) for seed in range(3000)) if spec.shot_type == "medium"
    )
    keyframe = render([spec], 1)[0][:, 0]
    guided = sampling_for(entry("storyland"))
    fast = sampling_for(entry("storyland"), entry("storyland-fast"))
    assert (fast.guidance_scale, fast.memory_guidance_scale) == (1.0, 1.0)
    quick = StoryMemPipeline.from_components(load_components(locate("storyland")))
    quick.set_progress_bar_config(disable=True)
    pair = load_lora(locate("storyland-fast"))
    for transformer, lora in ((quick.transformer, pair.high), (quick.transformer_2, pair.low)):
        assert lora is not None
        apply_lora(transformer, lora, name="fast")

    def made(pipe: StoryMemPipeline, sampling: SamplingConfig) -> torch.Tensor:
        noise, prompt = torch.Generator().manual_seed(1), "The hero reads in the library. Close-up."
        sampling = replace(sampling, num_inference_steps=4)
        return pipe(prompt, memory=[keyframe], sampling=sampling, generator=noise, output_type="raw").frames

    wanted = made(pipe, guided)
    off = {
        "fast": (made(quick, fast) - wanted).square().mean(),
        "unguided": (made(pipe, fast) - wanted).square().mean(),
    }
    assert off["fast"] < 0.6 * off["unguided"], off
