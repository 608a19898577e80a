"""What a script says of a film that is gone on with: only what it says otherwise than before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from filming import Studio

from storymem.cli.film_options import film_settings
from storymem.cli.options import model_request
from storymem.film.film_settings import FilmSettings
from storymem.film.manifest import Manifest
from storymem.film.pipeline_maker import ModelChoice
from storymem.film.resolve import ModelRequest, ResolvedModel
from storymem.story import Story

REQUEST = ModelRequest(model="wan2.2-i2v-a14b", loras=(("mine", 0.5),), first_shot_model="wan2.2-t2v-a14b")
SAID = "{width: 64, height: 64, num_inference_steps: 20, duration: 2, seed: 5, memory: {capacity: 4}}"


def scripted(defaults: str) -> str:
    return f"title: Light\ndefaults: {defaults}\nshots: [A fox.]\n"


@pytest.fixture
def film(studio: Studio) -> Manifest:
    """A film of 32 x 32 pixels, two steps, five frames and film seed 7, as options said; the script says otherwise."""
    studio.script = scripted(SAID)
    with studio.begin() as begun:
        manifest = begun.manifest
    return replace(manifest, tools=replace(manifest.tools, description={"request": REQUEST.to_json()}))


def settings(story: Story, film: Manifest, request: ModelRequest = REQUEST, **options: Any) -> FilmSettings:
    resolved = ResolvedModel(
        model=ModelChoice("mine", None),
        first=None,
        sampling={"num_inference_steps": 30},
        negative_prompt="",
        continue_with="mi2v",
        note="",
        request=request,
    )
    asked = {"memory": {}, "seed": None, "continue_with": None, "negative_prompt": None, "sampling": {}, **options}
    return film_settings(story, resolved, film, **asked)


def told(studio: Studio, defaults: str) -> Story:
    studio.script = scripted(defaults)
    return studio.story()


def test_what_was_decided_stays(studio: Studio, film: Manifest) -> None:
    assert settings(studio.story(), film) == film.settings


def test_what_a_script_says_anew_counts_and_nothing_else(studio: Studio, film: Manifest) -> None:
    now = settings(told(studio, SAID.replace("20", "21").replace("capacity: 4", "capacity: 6")), film)
    own = film.settings
    assert now == replace(
        own,
        sampling=replace(own.sampling, num_inference_steps=21),
        memory=replace(own.memory, capacity=6),
    )
    assert settings(told(studio, SAID.replace("seed: 5", "seed: 6")), film) == replace(own, seed=6)


def test_seconds_are_counted_again_at_another_rate(studio: Studio, film: Manifest) -> None:
    assert film.settings.sampling.num_frames == 5
    assert settings(studio.story(), film, sampling={"fps": film.settings.sampling.fps}).sampling.num_frames == 5
    assert settings(studio.story(), film, sampling={"fps": 24}).sampling.num_frames == 49
    assert settings(told(studio, SAID.replace("duration: 2", "duration: 1")), film).sampling.num_frames == 17


def test_one_guidance_in_a_script_is_that_of_both_experts(studio: Studio, film: Manifest) -> None:
    own = film.settings.sampling
    film = replace(film, settings=replace(film.settings, sampling=replace(own, guidance_scale_2=3.0)))
    alone = settings(told(studio, "{guidance_scale: 2}"), film).sampling
    assert (alone.guidance_scale, alone.guidance_scale_2) == (2, None)
    both = settings(told(studio, "{guidance_scale: 2, guidance_scale_2: 4}"), film).sampling
    assert (both.guidance_scale, both.guidance_scale_2) == (2, 4)
    assert settings(told(studio, "{shift: 4}"), film).sampling.guidance_scale_2 == 3.0


def test_another_lora_has_the_scripts_schedule_and_the_films_shape(studio: Studio, film: Manifest) -> None:
    now = settings(studio.story(), film, replace(REQUEST, loras=()))
    assert (now.sampling.width, now.sampling.num_frames) == (32, 5)
    assert now.sampling.num_inference_steps == 20
    assert now.memory == film.settings.memory


def test_another_model_is_asked_everything_anew(studio: Studio, film: Manifest) -> None:
    now = settings(studio.story(), film, ModelRequest(model="another"))
    assert (now.sampling.width, now.sampling.num_inference_steps, now.seed) == (64, 20, 5)


def test_a_film_keeps_its_model_until_the_script_names_another(studio: Studio, film: Manifest) -> None:
    def asked(said: str, before: str, **options: Any) -> dict[str, Any]:
        known = replace(film, story=told(studio, before))
        return dict(model_request(told(studio, said), known, **{"model": None, "lora": None, **options}).to_json())

    def of(request: ModelRequest) -> dict[str, Any]:
        return dict(request.to_json())

    wan, others = "{model: wan2.2-i2v-a14b}", (("other", 1.0),)
    assert asked(wan, wan) == asked("{}", wan) == asked("{}", "{}") == of(REQUEST)
    assert asked("{model: storyland}", wan) == of(ModelRequest(model="storyland"))
    assert asked(wan, "{}") == of(ModelRequest(model="wan2.2-i2v-a14b"))
    assert asked("{lora: other}", "{}") == of(replace(REQUEST, loras=others))
    assert asked("{lora: other}", "{lora: other}") == of(REQUEST)
    both = asked("{model: storyland, lora: other}", "{lora: other}")
    assert both == of(ModelRequest(model="storyland", loras=others))
    assert asked(wan, wan, lora=["other"]) == of(replace(REQUEST, loras=others))
