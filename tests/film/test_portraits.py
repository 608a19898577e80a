"""Portraits of a cast: made before the film, remembered like reference images, and no part of the film."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_server import content
from filming import Studio, flip, of
from procedural import story, tiny_settings

from storymem.errors import FilmError, SettingsError
from storymem.film.director import Director
from storymem.film.edit import Edit
from storymem.film.events import (
    Event,
    FilmFinished,
    FilmPlanned,
    KeyframesChosen,
    ShotReused,
    ShotStale,
    ShotStarted,
    TakeDamaged,
)
from storymem.film.export import film_edit
from storymem.film.plan import plan_film
from storymem.film.portraits import portraits_of
from storymem.film.project import Film
from storymem.media import write_png
from storymem.settings import Recall

SCRIPT = """\
title: The lantern
cast:
  Mara: a girl with a red coat
  Old Tom: {description: an old man, portrait: Old Tom sits in a boat.}
  Fay: {description: a fox, portrait: false}
  Kit: a cat that no prompt names
scenes:
  - shots:
      - Mara lights a lantern.
      - prompt: Mara and Old Tom walk with Fay.
        cut: false
  - shots:
      - Old Tom sleeps.
      - The lantern goes out.
"""


@pytest.fixture
def cast(studio: Studio) -> Studio:
    studio.script = SCRIPT
    studio.settings = replace(tiny_settings(), portraits=True, portrait_prompt="{name} smiles.")
    return studio


def recall(studio: Studio, what: Recall) -> None:
    studio.settings = replace(studio.settings, memory=replace(studio.settings.memory, recall=what))


def saw(studio: Studio) -> dict[str, list[str]]:
    return {planned.shot.id: [seen.label for seen in planned.memory or ()] for planned in studio.plan()}


class TestWhoGetsOne:
    def ids(self, script: str, **changes: Any) -> list[str]:
        settings = replace(tiny_settings(), **changes)
        return [shot.id for shot in portraits_of(story(script, None), settings)]

    def test_the_described_that_a_prompt_names_if_the_film_asks(self) -> None:
        assert self.ids(SCRIPT, portraits=True) == ["portrait-mara", "portrait-old-tom"]

    def test_who_the_script_says_though_the_film_does_not_ask(self) -> None:
        assert self.ids(SCRIPT) == ["portrait-old-tom"]
        assert self.ids(SCRIPT.replace("Kit: a cat that", "Kit: {portrait: true, description: a cat} #")) == [
            "portrait-old-tom",
            "portrait-kit",
        ]

    def test_no_means_no(self) -> None:
        for word, ids in (("no", []), ("False", []), ("yes", ["portrait-mara"])):
            script = f"title: T\ncast: {{Mara: {{description: a girl, portrait: {word}}}}}\nshots: [Mara runs.]\n"
            assert self.ids(script) == ids

    def test_none_without_memory(self) -> None:
        memory = replace(tiny_settings().memory, capacity=0, sink=0)
        assert self.ids(SCRIPT, portraits=True, memory=memory) == []

    def test_the_script_can_ask_for_the_film(self) -> None:
        told = story(SCRIPT + "defaults: {portraits: true}\n", None)
        assert type(tiny_settings()).for_story(told).portraits

    def test_ids_name_files_and_are_there_once(self) -> None:
        def cast(names: str, shot: str = "a") -> list[str]:
            return self.ids(f"title: Names\ncast: {{{names}}}\nshots: [{{prompt: x, id: {shot}}}]\n")

        li, zoe, other, odd = cast(
            "李明: {portrait: 李明在屋里。}, Zoë: {portrait: Zoë.}, zoe: {portrait: z}, '?': {portrait: y}"
        )
        assert zoe.startswith("portrait-zoe-")
        assert other == "portrait-zoe"
        assert len({li, zoe, other, odd}) == 4
        for shot_id in (li, zoe, odd):
            assert re.fullmatch(r"portrait-[a-z0-9-]+", shot_id)
        # Whoever else is in the cast: a portrait must not become another's.
        assert cast("Zoë: {portrait: Zoë.}, 李明: {portrait: 李明在屋里。}") == [zoe, li]
        # But where two would have the same, or a shot has it.
        both = cast("Old Tom: {portrait: x}, old-tom: {portrait: y}")
        assert len(set(both)) == 2
        assert all(shot_id.startswith("portrait-old-tom-") for shot_id in both)
        assert cast("Mara: {portrait: x}") == ["portrait-mara"]
        assert cast("Mara: {portrait: x}", "portrait-mara")[0].startswith("portrait-mara-")
        (long,) = cast(f"{'Mara ' * 15}x: {{portrait: x}}")
        assert len(long) <= 64
        accents = f"{'Marà ' * 15}x: {{portrait: x}}"
        (taken,) = cast(accents)
        (other,) = cast(accents, taken)
        assert len(taken) <= 64
        assert len(other) <= 64
        assert other != taken


class TestMaking:
    def test_they_come_first_and_see_nothing(self, cast: Studio) -> None:
        events = cast.generate()
        started = of(events, ShotStarted)
        assert [event.shot_id for event in started] == [
            "portrait-mara", "portrait-old-tom", "01-01", "01-02", "02-01", "02-02",
        ]  # fmt: skip
        assert [(event.mode, event.memory) for event in started[:2]] == [("t2v", ())] * 2
        assert [request.prompt for request in cast.maker.requests[:2]] == [
            "Mara, a girl with a red coat, smiles.",
            "Old Tom, an old man, sits in a boat.",
        ]
        assert of(events, FilmPlanned)[0].to_make == tuple(event.shot_id for event in started)
        assert of(events, FilmFinished)[0].made == tuple(event.shot_id for event in started)

    def test_every_shot_sees_their_middle_frames(self, cast: Studio) -> None:
        cast.generate()
        assert saw(cast)["01-01"] == ["Mara (portrait)", "Old Tom (portrait)"]
        assert saw(cast)["02-02"][:2] == ["Mara (portrait)", "Old Tom (portrait)"]
        first = cast.maker.requests[2].memory[0]
        alone = cast.maker.make(cast.maker.requests[0], lambda done, total: None)
        assert np.array_equal(first, alone[len(alone) // 2])
        for planned in cast.plan():
            for seen in planned.memory or ():
                assert (cast.folder / seen.picture).is_file()

    def test_the_film_does_not_show_them(self, cast: Studio) -> None:
        cast.generate()
        edit: Edit = film_edit(cast.film())
        assert [shot.id for shot in edit.shots] == ["01-01", "01-02", "02-01", "02-02"]
        assert [picture.label for picture in edit.shots[0].memory] == ["Mara (portrait)", "Old Tom (portrait)"]

    def test_a_finished_film_is_gone_on_with_as_it_is(self, cast: Studio) -> None:
        cast.generate()
        before = content(cast.folder)
        assert len(of(cast.generate(), ShotReused)) == 6
        assert content(cast.folder) == before

    def test_a_portrait_of_whom_there_are_pictures_sees_those(self, cast: Studio) -> None:
        base = cast.folder.parent / "pictures"
        base.mkdir()
        for name in ("tom.png", "fay.png"):
            write_png(base / name, np.full((32, 32, 3), len(name), dtype=np.uint8) + np.uint8(name == "fay.png"))
        cast.base = base
        cast.script = SCRIPT.replace("an old man,", "an old man, references: [tom.png],").replace(
            "a fox, portrait: false", "a fox, references: [fay.png]"
        )
        cast.generate()
        assert saw(cast)["portrait-mara"] == []
        assert saw(cast)["portrait-old-tom"] == ["Old Tom (tom.png)"]
        # In the order of the cast, and of each character the pictures that were given before the portrait.
        assert saw(cast)["01-01"] == ["Mara (portrait)", "Old Tom (tom.png)", "Old Tom (portrait)", "Fay (fay.png)"]

    def test_a_shot_after_forgetting_sees_them(self, cast: Studio) -> None:
        cast.script = SCRIPT.replace("      - Old Tom sleeps.", "      - {prompt: Old Tom sleeps., forget: true}")
        cast.generate()
        assert saw(cast)["02-01"] == ["Mara (portrait)", "Old Tom (portrait)"]

    def test_more_than_the_memory_has_places_for_are_refused_before_anything_is_written(self, cast: Studio) -> None:
        cast.settings = replace(cast.settings, memory=replace(cast.settings.memory, capacity=1, sink=1))
        with pytest.raises(SettingsError, match="2 portraits of the cast, and has 1 place: raise its capacity"):
            cast.generate()
        assert not (cast.folder / "film.json").exists()
        recall(cast, "cast+scene")
        cast.settings = replace(cast.settings, memory=replace(cast.settings.memory, capacity=2))
        with pytest.raises(SettingsError, match="a keyframe of the scene, and has 2 places"):
            cast.generate()
        cast.settings = replace(cast.settings, memory=replace(cast.settings.memory, capacity=3))
        cast.generate()
        assert [label.split(", ")[0] for label in saw(cast)["02-02"]][2:] == ["shot 02-01"]


class TestPlanning:
    def test_before_they_are_made_nothing_is_decided(self, cast: Studio) -> None:
        preview = Film.preview(cast.folder, story=cast.story(), script=b"", settings=cast.settings, tools=cast.tools)
        plan = plan_film(preview)
        assert [planned.status for planned in plan] == ["missing"] * 6
        assert [planned.memory for planned in plan[:3]] == [(), (), None]
        assert plan[2].decided_after == "portrait-old-tom"

    def test_a_killed_film_goes_on_after_its_portraits(self, cast: Studio) -> None:
        with cast.begin() as film:
            events = Director(film, cast.tools).generate()
            for event in events:
                if isinstance(event, ShotStarted) and event.shot_id == "01-01":
                    break
            events.close()  # type: ignore[attr-defined]
        assert cast.statuses() == ["done", "done", "missing", "missing", "missing", "missing"]
        assert [event.shot_id for event in of(cast.generate(), ShotReused)] == ["portrait-mara", "portrait-old-tom"]

    def test_a_damaged_one_is_made_again_to_the_same_bits(self, cast: Studio) -> None:
        cast.generate()
        before = cast.chosen()
        flip(cast.take("portrait-mara").folder / "frames.safetensors")
        events = cast.generate()
        assert [event.shot_id for event in of(events, TakeDamaged)] == ["portrait-mara"]
        assert cast.chosen() == before
        assert cast.statuses() == ["done"] * 6


class TestOneAfterAnother:
    def some(self, studio: Studio, until: str) -> list[Event]:
        with studio.begin() as film:
            return list(Director(film, studio.tools).generate(until=until))

    def test_portraits_can_be_looked_at_before_the_film(self, cast: Studio) -> None:
        events = self.some(cast, "portraits")
        assert of(events, FilmPlanned)[0].to_make == ("portrait-mara", "portrait-old-tom")
        assert of(events, FilmFinished)[0].made == ("portrait-mara", "portrait-old-tom")
        cast.retake("portrait-mara")
        made = of(cast.generate(), FilmFinished)[0].made
        assert made == ("01-01", "01-02", "02-01", "02-02")
        assert cast.statuses() == ["done"] * 6

    def test_a_film_can_be_made_up_to_a_shot(self, cast: Studio) -> None:
        assert of(self.some(cast, "01-01"), FilmFinished)[0].made == ("portrait-mara", "portrait-old-tom", "01-01")
        assert cast.statuses() == ["done"] * 3 + ["missing"] * 3
        assert of(self.some(cast, "01-01"), FilmPlanned)[0].to_make == ()

    def test_what_is_not_there_cannot_be_stopped_after(self, studio: Studio) -> None:
        for until, message in (("portraits", "The film has no portraits"), ("x", "The film has no shot 'x'")):
            with pytest.raises(FilmError, match=message):
                self.some(studio, until)
        assert not (studio.folder / "film.json").exists()
        studio.script = SCRIPT.replace(
            "  - shots:\n      - Mara lights a lantern.", "  - shots:\n      - {prompt: A lantern., id: portraits}"
        )
        assert of(self.some(studio, "portraits"), FilmFinished)[0].made == ("portrait-old-tom", "portraits")


class TestRetakes:
    def test_a_retake_makes_stale_what_saw_it(self, cast: Studio) -> None:
        recall(cast, "cast")
        cast.generate()
        events = cast.retake("portrait-old-tom")
        stale = {event.shot_id: event.reason for event in of(events, ShotStale)}
        # The first shot names Mara alone; what names nobody sees the whole cast.
        assert stale == dict.fromkeys(("01-02", "02-01", "02-02"), "memory changed: keyframes of Old Tom (portrait)")
        cast.generate(remake=True)
        assert cast.statuses() == ["done"] * 6
        assert len(cast.film().manifest.kept["portrait-old-tom"]) == 2

    def test_with_another_prompt_and_back(self, cast: Studio) -> None:
        cast.generate()
        first = cast.chosen()["portrait-mara"]
        cast.retake("portrait-mara", prompt="Mara stands in the rain.")
        assert cast.take("portrait-mara").record.recipe.prompt == "Mara, a girl with a red coat, stands in the rain."
        with Film.work(cast.folder) as film:
            film.choose("portrait-mara", first[:12])
        assert cast.statuses() == ["done"] * 6

    def test_another_portrait_prompt_in_the_script_makes_it_stale(self, cast: Studio) -> None:
        cast.generate()
        cast.script = SCRIPT.replace("sits in a boat", "stands in a boat")
        assert [(event.shot_id, event.reason) for event in of(cast.generate(), ShotStale)] == [
            ("portrait-old-tom", "prompt changed")
        ]

    def test_to_ask_for_them_later_is_another_film_until_it_is_meant(self, cast: Studio) -> None:
        wanted, cast.settings = cast.settings, replace(cast.settings, portraits=False)
        cast.generate()
        cast.settings = wanted
        with pytest.raises(FilmError, match="portraits False"):
            cast.generate()
        cast.generate(remake=True)
        assert saw(cast)["01-01"] == ["Mara (portrait)", "Old Tom (portrait)"]


class TestOneIdAndAnother:
    def test_a_portrait_is_never_taken_for_another_s(self, cast: Studio) -> None:
        cast.generate()
        before = cast.take("portrait-mara").key
        # The same id, another character: "mara" is written as "Mara" was.
        cast.script = SCRIPT.replace("Mara", "mara")
        assert "portrait-mara" in of(cast.generate(), FilmFinished)[0].made
        assert cast.take("portrait-mara").key != before
        assert "mara (portrait)" in saw(cast)["01-01"]

    def test_a_portrait_is_never_taken_for_a_shot(self, cast: Studio) -> None:
        cast.generate()
        cast.script = SCRIPT.replace(
            "      - Mara lights a lantern.", "      - {prompt: Mara lights it., id: portrait-mara}"
        )
        made = of(cast.generate(), FilmFinished)[0].made
        assert "portrait-mara" in made
        assert cast.take("portrait-mara").record.recipe.prompt == "Mara, a girl with a red coat, lights it."
        assert film_edit(cast.film()).shots[0].id == "portrait-mara"

    def test_events_call_a_portrait_what_the_memory_calls_it(self, cast: Studio) -> None:
        (found, *_) = of(cast.generate(), KeyframesChosen)
        assert [seen.label for seen in found.keyframes] == ["Mara (portrait)"]


class TestRecall:
    def test_a_shot_sees_whom_it_names(self, cast: Studio) -> None:
        recall(cast, "cast")
        cast.generate()
        seen = saw(cast)
        assert seen["01-01"] == ["Mara (portrait)"]
        assert seen["01-02"] == ["Mara (portrait)", "Old Tom (portrait)"]
        assert seen["02-01"] == ["Old Tom (portrait)"]
        assert seen["02-02"] == ["Mara (portrait)", "Old Tom (portrait)"]  # it names nobody

    def test_and_if_asked_the_latest_of_its_scene(self, cast: Studio) -> None:
        recall(cast, "cast+scene")
        cast.generate()
        seen = saw(cast)
        assert seen["01-01"] == ["Mara (portrait)"]
        assert [label.split(", ")[0] for label in seen["01-02"][2:]] == ["shot 01-01"]
        assert seen["02-01"] == ["Old Tom (portrait)"]
        assert [label.split(", ")[0] for label in seen["02-02"][2:]] == ["shot 02-01"]

    def test_no_shot_waits_for_another_where_it_sees_the_cast_alone(self, cast: Studio) -> None:
        recall(cast, "cast")
        cast.generate()
        with Film.work(cast.folder) as film:
            chosen = {shot_id: key for shot_id, key in film.manifest.chosen.items() if shot_id.startswith("portrait")}
            film.save(replace(film.manifest, chosen=chosen, kept={}))
        shutil.rmtree(cast.folder / "takes" / "01-01")
        plan = {planned.shot.id: planned for planned in cast.plan()}
        assert plan["01-01"].status == "missing"
        assert plan["02-01"].memory is not None
        assert plan["02-01"].key is not None
        assert plan["01-02"].decided_after == "01-01"  # it continues that one

    def test_pictures_are_not_forgotten_for_what_is_new(self, cast: Studio) -> None:
        recall(cast, "cast")
        memory = replace(cast.settings.memory, capacity=2, sink=0)
        cast.settings = replace(cast.settings, memory=memory)
        cast.generate()
        assert saw(cast)["02-02"] == ["Mara (portrait)", "Old Tom (portrait)"]

    def test_the_script_can_say_who_is_in_a_shot(self, cast: Studio) -> None:
        recall(cast, "cast")
        cast.script = SCRIPT.replace("      - Old Tom sleeps.", "      - {prompt: She sleeps., shows: [Mara]}").replace(
            "      - The lantern goes out.", "      - {prompt: The lantern goes out., shows: []}"
        )
        cast.generate()
        assert saw(cast)["02-01"] == ["Mara (portrait)"]
        assert saw(cast)["02-02"] == []
        assert [planned.mode for planned in cast.plan()][-1] == "t2v"

    def test_what_is_pinned_is_always_seen(self, cast: Studio) -> None:
        recall(cast, "cast")
        cast.generate()
        (lit, *_) = cast.take("01-01").record.keyframes
        with Film.work(cast.folder) as film:
            film.pin([lit.id])
        assert saw(cast)["02-01"] == ["Old Tom (portrait)", f"shot 01-01, frame {lit.frame_index}"]

    def test_banned_pictures_are_none(self, cast: Studio) -> None:
        recall(cast, "cast")
        cast.generate()
        pictures = [cast.take(name).record.keyframes[0].id for name in ("portrait-mara", "portrait-old-tom")]
        with Film.work(cast.folder) as film:
            film.pin(ban=pictures)
        cast.generate(remake=True)
        assert [label.split(", ")[0] for label in saw(cast)["02-02"]][:1] == ["shot 01-01"]
        shutil.rmtree(cast.take("01-01").folder)
        plan = {planned.shot.id: planned for planned in cast.plan()}
        assert plan["02-01"].decided_after is not None
        assert plan["02-01"].memory is None

    def test_a_retake_sees_whom_its_own_prompt_names(self, cast: Studio) -> None:
        recall(cast, "cast")
        cast.generate()
        cast.retake("02-01", prompt="Mara sleeps.")
        assert saw(cast)["02-01"] == ["Mara (portrait)"]

    def test_without_pictures_of_the_cast_a_shot_sees_everything(self, studio: Studio) -> None:
        studio.generate()
        everything = saw(studio)
        other = Studio(Path(f"{studio.folder}-2"))
        recall(other, "cast")
        other.generate()
        assert saw(other) == everything
        assert len(everything["01-03"]) > 1
