"""What stays of a film's settings when its model has other weights than before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from filming import Studio
from procedural import ProceduralMaker

from storymem.cli.film_options import film_settings
from storymem.film.film_settings import FilmSettings
from storymem.film.manifest import Manifest
from storymem.film.resolve import ModelRequest, ResolvedModel, resolve_model
from storymem.models.catalog import CATALOG
from storymem.settings import MemoryConfig, SamplingConfig

STORYLAND = CATALOG["storyland"]
SCRIPT = "title: Light\ndefaults: {defaults}\nshots: [A fox.]\n"
BEFORE = FilmSettings(
    sampling=SamplingConfig(
        width=128,
        height=64,
        num_frames=17,
        fps=8,
        num_inference_steps=30,
        shift=5.0,
        guidance_scale=5.0,
        guidance_scale_2=4.0,
        memory_guidance_scale=2.0,
    ),
    memory=MemoryConfig(capacity=4, sink=2, recall="cast+scene"),
    seed=7,
    continue_with="mm2v",
    negative_prompt="rain",
    portrait_prompt="{name} stands in the snow.",
)
"""As a model of earlier had it, in part, and its user."""


@pytest.fixture
def film(studio: Studio) -> Manifest:
    return film_of(studio, "{}")


def film_of(studio: Studio, defaults: str) -> Manifest:
    studio.script = SCRIPT.replace("{defaults}", defaults)
    with studio.begin() as begun:
        manifest = begun.manifest
    description = {"request": ModelRequest().to_json()}
    return replace(manifest, settings=BEFORE, tools=replace(manifest.tools, description=description))


def asked(film: Manifest, resolved: ResolvedModel, maker: ProceduralMaker, **options: Any) -> FilmSettings:
    given = {"sampling": {}, "memory": {}, "seed": None, "continue_with": None, "negative_prompt": None, **options}
    return film_settings(film.story, resolved, film, maker, **given)


def trained_again() -> ProceduralMaker:
    return ProceduralMaker("trained again")


def test_a_model_with_other_weights_is_sampled_as_it_is_meant_to_be_today(film: Manifest) -> None:
    now = asked(film, resolve_model(ModelRequest()), trained_again())
    assert now.sampling == SamplingConfig(**STORYLAND.sampling)
    assert (now.sampling.blank, now.sampling.memory_guidance_scale) == ("gradient", 1.0)
    assert now.memory == replace(BEFORE.memory, recall="cast")  # the rest no model says, so a user did
    assert (now.seed, now.negative_prompt) == (7, "rain")
    assert (now.portraits, now.portrait_prompt) == (True, STORYLAND.portrait_prompt)
    assert now.continue_with == "mi2v"


def test_the_films_own_weights_keep_everything(film: Manifest) -> None:
    for request in (ModelRequest(), ModelRequest(first_shot_model="elsewhere")):
        resolved = replace(resolve_model(ModelRequest()), request=request)
        assert asked(film, resolved, ProceduralMaker()) == BEFORE


def test_what_a_model_says_nothing_of_stays(film: Manifest) -> None:
    silent = replace(
        resolve_model(ModelRequest()), sampling={"height": 96}, memory={}, portraits=False, negative_prompt="blur"
    )
    film = replace(film, settings=replace(BEFORE, portraits=True))
    now = asked(film, silent, trained_again())
    assert now.sampling == SamplingConfig(width=128, height=96, num_frames=17, fps=8)
    assert (now.memory, now.portraits, now.negative_prompt) == (BEFORE.memory, True, "rain")
    unsaid = replace(film, settings=replace(BEFORE, negative_prompt=""))
    assert asked(unsaid, silent, trained_again()).negative_prompt == "blur"


def test_options_and_the_script_go_before_what_a_model_says_today(studio: Studio) -> None:
    film = film_of(studio, "{width: 96, num_inference_steps: 20, portraits: false, seed: 5, memory: {capacity: 6}}")
    resolved = resolve_model(ModelRequest())
    now = asked(film, resolved, trained_again(), sampling={"shift": 2.0}, continue_with=None)
    own = SamplingConfig(**STORYLAND.sampling)
    assert now.sampling == replace(own, width=96, num_inference_steps=20, shift=2.0)
    assert (now.portraits, now.seed) == (False, 7)  # the film had another seed than its script, so an option said it
    assert now.memory.capacity == 4
    silent = replace(resolved, sampling={})
    assert asked(film, silent, trained_again()).sampling.width == 128  # likewise


def test_seconds_are_counted_at_the_rate_of_today(studio: Studio) -> None:
    film = film_of(studio, "{duration: 2}")
    resolved = replace(resolve_model(ModelRequest()), sampling={"fps": 24})
    assert asked(film, resolved, trained_again()).sampling.num_frames == 49
    assert asked(film, replace(resolved, sampling={"fps": 8}), trained_again()).sampling.num_frames == 17
    long = replace(resolved, sampling={"fps": 8, "num_frames": 25})
    assert asked(film, long, trained_again()).sampling.num_frames == 17  # two seconds: what the script says


def test_another_lora_continues_shots_in_its_own_way(film: Manifest) -> None:
    resolved = replace(
        resolve_model(ModelRequest()), request=ModelRequest(loras=(("other", 1.0),)), continue_with="mi2v"
    )
    now = asked(film, resolved, trained_again())
    assert now.continue_with == "mi2v"
    assert (now.sampling.width, now.sampling.blank, now.memory) == (128, "gradient", BEFORE.memory)
    assert now.portrait_prompt == STORYLAND.portrait_prompt
    back = replace(film, settings=replace(BEFORE, continue_with="mi2v"))
    assert asked(back, replace(resolved, continue_with="mm2v"), trained_again()).continue_with == "mm2v"


def test_with_the_same_lora_shots_are_continued_as_before(film: Manifest) -> None:
    request = ModelRequest(first_shot_model="another")
    now = asked(film, replace(resolve_model(ModelRequest()), request=request), trained_again())
    assert now.continue_with == BEFORE.continue_with == "mm2v"


class TestTakes:
    def test_a_film_of_one_take_goes_on_so(self, film: Manifest) -> None:
        """As films of before there were several."""
        now = asked(film, resolve_model(ModelRequest()), ProceduralMaker())
        assert (now.takes, now.critic) == (1, "none")

    def test_more_are_chosen_from_by_the_models_critic(self, film: Manifest) -> None:
        now = asked(film, resolve_model(ModelRequest()), ProceduralMaker(), takes=4)
        assert (now.takes, now.critic) == (4, "storyland")
        now = asked(film, resolve_model(ModelRequest()), ProceduralMaker(), takes=4, critic="none")
        assert (now.takes, now.critic) == (4, "none")

    def test_what_the_user_said_of_several_stays(self, film: Manifest) -> None:
        several = replace(film, settings=replace(BEFORE, takes=5, critic="none"))
        now = asked(several, resolve_model(ModelRequest()), ProceduralMaker())
        assert (now.takes, now.critic) == (5, "none")

    def test_other_weights_make_as_many_as_suit_them(self, film: Manifest) -> None:
        now = asked(film, resolve_model(ModelRequest()), trained_again())
        assert (now.takes, now.critic) == (STORYLAND.takes, STORYLAND.critic)
