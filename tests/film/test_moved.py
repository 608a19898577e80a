"""Takes stay with ids: a shot that moved away from its take is told of, and with its id back it has the take back."""

from __future__ import annotations

from dataclasses import replace

from filming import Studio, of

from storymem.film.director import Director
from storymem.film.events import ShotFinished
from storymem.film.moved import moved_shots

AWAY = "\n      - prompt: Mara walks into the forest."


def inserted(studio: Studio) -> None:
    studio.script = studio.script.replace(AWAY, f"\n      - prompt: It begins to rain.{AWAY}")


def test_a_shot_put_in_moves_those_after_it(finished: Studio) -> None:
    assert moved_shots(finished.film(), finished.plan()) == {}
    inserted(finished)
    finished.generate()
    assert moved_shots(finished.film(), finished.plan()) == {"01-03": "01-02"}  # what was 01-03 is made anew, as 01-04
    assert finished.statuses() == ["done", "stale", "stale", "done"]


def test_the_takes_come_along_with_their_ids(finished: Studio) -> None:
    before = finished.chosen()
    inserted(finished)
    finished.generate()
    for prompt, shot in (("It begins to rain.", "rain"), ("Mara walks", "01-02"), ("The lantern goes", "01-03")):
        finished.script = finished.script.replace(f"- prompt: {prompt}", f"- id: {shot}\n        prompt: {prompt}")
    assert [made.shot_id for made in of(finished.generate(), ShotFinished)] == ["rain"]
    assert {shot: key for shot, key in finished.chosen().items() if shot in before} == before
    assert moved_shots(finished.film(), finished.plan()) == {}


def test_a_shot_taken_out_moves_those_after_it_too(studio: Studio) -> None:
    studio.script = studio.script.replace("The lantern goes out.", "The lantern goes out.\n      - prompt: It is dark.")
    studio.generate()
    before = studio.chosen()
    studio.script = studio.script.replace(f"{AWAY}\n        cut: false", "")
    with studio.begin():
        assert moved_shots(studio.film(), studio.plan()) == {"01-02": "01-03", "01-03": "01-04"}
    for prompt, shot in (("The lantern goes", "01-03"), ("It is dark", "01-04")):
        studio.script = studio.script.replace(f"- prompt: {prompt}", f"- id: {shot}\n        prompt: {prompt}")
    assert not of(studio.generate(), ShotFinished)
    assert studio.chosen() == before  # that of 01-02 too, should it come back
    assert moved_shots(studio.film(), studio.plan()) == {}


def test_shots_that_change_places_have_each_others_takes(finished: Studio) -> None:
    lights, goes = "Mara lights a lantern.", "The lantern goes out."
    finished.script = finished.script.replace(lights, "?").replace(goes, lights).replace("?", goes)
    with finished.begin():
        assert moved_shots(finished.film(), finished.plan()) == {"01-01": "01-03", "01-03": "01-01"}


def test_new_words_are_no_move(finished: Studio) -> None:
    finished.script = finished.script.replace("walks into", "runs into")
    with finished.begin():
        assert moved_shots(finished.film(), finished.plan()) == {}


def test_two_takes_of_one_prompt_tell_nothing(studio: Studio) -> None:
    studio.script = studio.script.replace("The lantern goes out.", "Mara lights a lantern.")
    studio.generate()
    studio.script = studio.script.replace("Mara lights a lantern.", "Snow falls.").replace(
        AWAY, "\n      - prompt: Mara lights a lantern."
    )
    with studio.begin():
        assert moved_shots(studio.film(), studio.plan()) == {}


def test_a_retake_in_other_words_comes_along_too(finished: Studio) -> None:
    with finished.begin() as film:
        list(Director(film, finished.tools).retake("01-02", prompt="Mara runs into the forest, singing."))
    before = finished.chosen()
    inserted(finished)
    with finished.begin():
        assert moved_shots(finished.film(), finished.plan()) == {"01-03": "01-02", "01-04": "01-03"}
    for prompt, shot in (("It begins to rain.", "rain"), ("Mara walks", "01-02"), ("The lantern goes", "01-03")):
        finished.script = finished.script.replace(f"- prompt: {prompt}", f"- id: {shot}\n        prompt: {prompt}")
    with finished.begin():
        assert moved_shots(finished.film(), finished.plan()) == {}
    assert [made.shot_id for made in of(finished.generate(), ShotFinished)] == ["rain"]
    assert {shot: key for shot, key in finished.chosen().items() if shot in before} == before


def test_a_retake_in_other_words_is_there_again_with_the_prompt_that_it_took_the_place_of(finished: Studio) -> None:
    with finished.begin() as film:
        list(Director(film, finished.tools).retake("01-02", prompt="Mara runs into the forest, singing."))
    before, script, statuses = finished.chosen(), finished.script, finished.statuses()
    for changed in (script.replace("walks into", "crawls into"), script.replace(f"{AWAY}\n        cut: false", "")):
        assert changed != script
        finished.script = changed
        with finished.begin() as film:
            assert "singing" not in "".join(film.manifest.prompt_of(shot.id)[0] for shot in film.manifest.all_shots)
        finished.script = script
        with finished.begin():
            assert finished.statuses() == statuses
        assert finished.chosen() == before


def test_words_of_a_retake_that_the_script_took_over_are_its_own(finished: Studio) -> None:
    sung, script = "Mara runs into the forest, singing.", finished.script
    first = finished.chosen()["01-02"]
    with finished.begin() as film:
        list(Director(film, finished.tools).retake("01-02", prompt=sung))
    walks = next(shot.prompt for shot in finished.film().manifest.all_shots if shot.id == "01-02")
    finished.script = script.replace(walks, sung)
    with finished.begin():
        assert finished.statuses()[1] == "done"
    inserted = finished.script.replace(
        "\n      - prompt: Mara runs", "\n      - prompt: It rains.\n      - prompt: Mara runs"
    )
    assert inserted != finished.script
    finished.script = inserted
    with finished.begin():
        assert moved_shots(finished.film(), finished.plan()) == {"01-03": "01-02", "01-04": "01-03"}
    finished.script = script
    with finished.begin() as film:
        assert film.manifest.prompt_of("01-02")[0] == walks
        list(Director(film, finished.tools).generate(remake_stale=True))
    assert finished.chosen()["01-02"] == first


def test_a_retake_of_an_older_film_is_nobody_elses(finished: Studio) -> None:
    """Films of before do not say which words a retake's took the place of."""
    with finished.begin() as film:
        list(Director(film, finished.tools).retake("01-03", prompt="A bear dances."))
    script = finished.script
    (line,) = (text for text in script.splitlines() if "The lantern goes out." in text)
    finished.script = script[: script.index(line)]
    with finished.begin() as film:
        overrides = {shot: replace(override, over=None) for shot, override in film.manifest.overrides.items()}
        film.save(replace(film.manifest, overrides=overrides))
    finished.script = script.replace("The lantern goes out.", "An owl flies away.")
    with finished.begin() as film:
        assert film.manifest.prompt_of("01-03")[0] == "An owl flies away."
    assert finished.statuses()[2] != "done"
