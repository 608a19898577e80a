"""What is noted of a film when work in it begins, and what is not when that fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from fault_server import content
from filming import Studio, of
from procedural import THREE_SHOTS, ProceduralMaker

from storymem.errors import FilmError, ModelError
from storymem.film.events import ShotReused, ShotStarted
from storymem.film.maker import FloatArray, ShotRequest

ANOTHER = "title: The boat\nshots: [A boat leaves., A boat comes back.]\n"


class Unfit(ProceduralMaker):
    """A model whose LoRA does not fit, which is seen when it is loaded."""

    def make(self, request: ShotRequest, on_step: Callable[[int, int], None]) -> FloatArray:
        raise ModelError("the LoRA does not fit: choose another.")


class SlowToLoad(ProceduralMaker):
    def make(self, request: ShotRequest, on_step: Callable[[int, int], None]) -> FloatArray:
        time.sleep(3)
        on_step(0, request.sampling.num_inference_steps)
        return super().make(request, on_step)


def test_a_new_film_that_cannot_be_made_leaves_nothing(studio: Studio) -> None:
    fit = studio.tools
    studio.tools = replace(fit, maker=Unfit("unfit"))
    with pytest.raises(ModelError):
        studio.generate()
    assert [path.name for path in studio.folder.iterdir() if path.name != ".lock"] == []
    studio.tools = fit
    assert len(of(studio.generate(), ShotStarted)) == 3


def test_new_settings_are_noted_with_the_first_take_that_is_made_with_them(finished: Studio) -> None:
    before, fit = content(finished.folder), finished.tools
    finished.sample(num_inference_steps=3)
    finished.tools = replace(fit, maker=Unfit("unfit"))
    with pytest.raises(ModelError):
        finished.generate(remake=True)
    assert content(finished.folder) == before
    finished.tools = fit
    with finished.begin(adopt_settings=True) as film:
        assert film.manifest.settings.sampling.num_inference_steps == 3
        assert finished.film().manifest.settings.sampling.num_inference_steps == 2
    assert len(of(finished.generate(remake=True), ShotStarted)) == 3
    assert finished.film().manifest.settings.sampling.num_inference_steps == 3


def test_another_film_does_not_take_a_films_place_by_accident(finished: Studio) -> None:
    before = content(finished.folder)
    finished.script = ANOTHER
    with pytest.raises(
        FilmError, match=r"holds the film 'The lantern' \(3 shots\), and no shot of 'The boat' is in it"
    ):
        finished.generate()
    assert content(finished.folder) == before
    assert len(of(finished.generate(remake=True), ShotStarted)) == 2


def test_a_new_title_or_new_words_are_the_same_film(finished: Studio) -> None:
    finished.script = THREE_SHOTS.replace("The lantern\n", "The light\n")
    assert len(of(finished.generate(), ShotReused)) == 3
    finished.script = ANOTHER.replace("The boat", "The light")
    finished.generate()


def test_a_shot_put_in_under_the_id_of_one_that_was_taken_out_is_made(finished: Studio) -> None:
    two = THREE_SHOTS.replace("      - prompt: The lantern goes out.\n", "")
    finished.script = two
    finished.generate()
    assert [planned.shot.id for planned in finished.plan() if planned.take is not None] == ["01-01", "01-02"]
    finished.script = two + "      - prompt: The sea.\n"
    assert [event.shot_id for event in of(finished.generate(), ShotStarted)] == ["01-03"]
    finished.script = two
    finished.generate()
    finished.script = THREE_SHOTS  # what was taken out by mistake is there again
    assert len(of(finished.generate(), ShotReused)) == 3


def test_a_shot_that_is_not_described_stays_so_in_retakes_and_choices(studio: Studio) -> None:
    undescribed = "      - prompt: Mara lights a lantern.\n        describe_cast: false\n"
    studio.script = THREE_SHOTS.replace("      - prompt: Mara lights a lantern.\n", undescribed)
    studio.generate()
    first = studio.chosen()["01-01"]
    studio.retake("01-01", prompt="Mara sleeps.")
    assert studio.take("01-01").record.recipe.prompt == "Mara sleeps."
    studio.script = studio.script.replace("Mara lights a lantern.", "Mara lights a lamp.")
    studio.generate(remake=True)
    with studio.begin() as film:
        film.choose("01-01", first)
    assert studio.plan()[0].status == "done"


def test_loading_is_no_part_of_what_a_shot_took(studio: Studio) -> None:
    studio.tools = replace(studio.tools, maker=SlowToLoad())
    studio.script = "title: T\nshots: [A lantern.]\n"
    studio.generate()
    assert studio.take("01-01").record.made["seconds"] < 3
