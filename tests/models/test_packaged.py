"""The small model that is part of the package: it is there, it is small, and it draws what it is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from storymem.errors import SettingsError
from storymem.models.catalog import entry, sampling_for
from storymem.models.checkpoints import load_components
from storymem.models.store import locate
from storymem.pipeline import StoryMemPipeline
from storymem.worlds.storyland import render, sample_shot
from storymem.worlds.storyland.captions import describe
from storymem.worlds.storyland.heroes import sample_heroes
from storymem.worlds.storyland.reader import load_reader


def test_they_are_small_and_tell_nothing_of_where_they_were_made() -> None:
    files = [path for path in locate("storyland").rglob("*") if path.is_file()]
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


def test_one_call_draws_the_looks_that_a_prompt_tells(pipe: StoryMemPipeline) -> None:
    own = sampling_for(entry("storyland"))
    assert (own.guidance_scale, own.memory_guidance_scale) == (1.0, 1.0)
    reader, told, right = load_reader(), 0, 0
    for number in range(4):
        (hero,) = sample_heroes(Random(number), 1, "test")
        (seen,) = reader.read(
            shot(pipe, f"Pip, {describe(hero)}, waves on the beach at noon. Medium shot.").numpy()
        ).heroes
        looks = hero.attributes()
        asked = [name for name in ("species", "colour", "hat", "hat_colour", "neckwear") if looks[name] is not None]
        told += len(asked)
        right += sum(seen.attributes[name] == looks[name] for name in asked)
    assert right >= 0.8 * told, (right, told)
