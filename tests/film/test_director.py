from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fault_server import content
from filming import Studio, flip, of
from procedural import ProceduralMaker, tools

from storymem.errors import FilmError, ModelError
from storymem.film import storage
from storymem.film.director import Director
from storymem.film.events import (
    Event,
    FilmFinished,
    FilmPlanned,
    KeyframesChosen,
    ShotFinished,
    ShotReused,
    ShotStale,
    ShotStarted,
    StepDone,
    TakeDamaged,
)
from storymem.film.maker import FloatArray, ShotRequest
from storymem.film.project import Film
from storymem.film.tools import Tools
from storymem.media import read_video, to_uint8
from storymem.memory.bank import frame_id

IDS = ["01-01", "01-02", "01-03"]


def test_a_film_from_nothing(studio: Studio) -> None:
    events = studio.generate()
    assert [event.shot_id for event in of(events, ShotStarted)] == IDS
    assert [event.mode for event in of(events, ShotStarted)] == ["t2v", "mi2v", "m2v"]
    assert [event.shot_id for event in of(events, ShotFinished)] == IDS
    assert isinstance(events[0], FilmPlanned)
    assert events[0].to_make == tuple(IDS)
    assert isinstance(events[-1], FilmFinished)
    assert (events[-1].made, events[-1].reused, events[-1].stale) == (tuple(IDS), (), ())
    assert studio.chosen() == {event.shot_id: event.key for event in of(events, ShotFinished)}


def test_the_model_gets_the_prompt_with_the_cast_and_the_memory(studio: Studio) -> None:
    events = studio.generate()
    first, second, third = studio.maker.requests
    assert first.prompt == "Mara, a girl with a red coat, lights a lantern."
    chosen = {e.shot_id: [k.id for k in e.keyframes] for e in of(events, KeyframesChosen)}
    assert [frame_id(frame) for frame in second.memory] == chosen["01-01"]
    assert [frame_id(frame) for frame in third.memory] == chosen["01-01"] + chosen["01-02"]
    assert [s.id for s in of(events, ShotStarted)[2].memory] == chosen["01-01"] + chosen["01-02"]


def test_known_frames_are_the_last_ones_bit_for_bit(studio: Studio) -> None:
    """Not those of a video file: eight bits would lose the last ones of a float."""
    made: list[FloatArray] = []
    make = studio.maker.make

    def record(request: ShotRequest, on_step: Callable[[int, int], None]) -> FloatArray:
        made.append(make(request, on_step))
        return made[-1]

    studio.maker.make = record  # type: ignore[method-assign]
    studio.generate()
    assert np.array_equal(studio.maker.requests[1].known_frames, made[0][-1:])
    assert not np.array_equal(made[0], np.round(made[0] * 127.5) / 127.5)
    take = studio.take("01-01")
    assert np.array_equal(take.last_frames(5), made[0][-5:])
    for keyframe in take.keyframes(0):
        assert keyframe.frame_index is not None
        assert np.array_equal(keyframe.pixels, made[0][keyframe.frame_index])
    assert np.array_equal(np.stack(list(read_video(take.master))), to_uint8(made[0]))


def test_motion_frames(studio: Studio) -> None:
    studio.settings = replace(studio.settings, continue_with="mm2v")
    studio.sample(num_frames=9)
    events = studio.generate()
    assert [event.mode for event in of(events, ShotStarted)] == ["t2v", "mm2v", "m2v"]
    assert studio.maker.requests[1].known_frames.shape == (5, 3, 32, 32)
    assert [planned.drop for planned in studio.plan()] == [0, 5, 0]


def test_after_a_shot_of_one_frame_only_that_frame_is_known(studio: Studio) -> None:
    studio.settings = replace(studio.settings, continue_with="mm2v")
    studio.script = studio.script.replace("Mara lights a lantern.", "Mara lights a lantern.\n        num_frames: 1")
    events = studio.generate()
    assert [event.mode for event in of(events, ShotStarted)] == ["t2v", "mi2v", "m2v"]
    assert [planned.drop for planned in studio.plan()] == [0, 1, 0]


def test_a_shot_too_short_to_continue_anything(studio: Studio) -> None:
    studio.settings = replace(studio.settings, continue_with="mm2v")
    with pytest.raises(FilmError, match=r"Shot 01-02 has 5 frames and continues .* first 5: make it longer"):
        studio.generate()


def test_the_same_command_again_makes_nothing(finished: Studio) -> None:
    before = content(finished.folder)
    events = finished.generate()
    assert finished.maker.requests == []
    assert [event.shot_id for event in of(events, ShotReused)] == IDS
    assert content(finished.folder) == before


def test_two_films_are_bit_for_bit_the_same(finished: Studio, tmp_path: Path) -> None:
    other = Studio(tmp_path / "other")
    other.generate()
    assert content(other.folder) == content(finished.folder)


@pytest.mark.parametrize("at", range(1, 7))
def test_ctrl_c_at_any_step(studio: Studio, finished_folder: Path, at: int) -> None:
    steps = 0

    def stop(_: StepDone) -> None:
        nonlocal steps
        steps += 1
        if steps == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), studio.begin() as film:
        for _ in Director(film, studio.tools).generate(on_step=stop):
            pass
    assert len(studio.chosen()) == (at - 1) // 2
    assert not list(studio.folder.rglob(".making-*"))
    events = studio.generate()  # the lock is free
    assert len(of(events, ShotReused)) == (at - 1) // 2
    assert content(studio.folder) == content(finished_folder)


def test_ending_the_loop_early_is_safe(studio: Studio, finished_folder: Path) -> None:
    with studio.begin() as film:
        for event in Director(film, studio.tools).generate():
            if isinstance(event, KeyframesChosen):  # the take is on the disk, film.json does not say so yet
                break
    assert studio.chosen() == {}
    assert studio.statuses()[0] == "done"
    events = studio.generate()
    assert [event.shot_id for event in of(events, ShotReused)] == ["01-01"]
    assert content(studio.folder) == content(finished_folder)


def test_a_take_found_again_is_on_the_disk_before_film_json_names_it(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever renamed it may have been killed before the name was on the disk."""
    with studio.begin() as film:
        for event in Director(film, studio.tools).generate():
            if isinstance(event, KeyframesChosen):
                break
    order: list[str] = []
    sync, replace_file = storage.sync_folder, storage.replace_file
    monkeypatch.setattr("storymem.film.takes.sync_folder", lambda path: (order.append(path.name), sync(path)))
    monkeypatch.setattr(
        "storymem.film.project.replace_file", lambda path, data: (order.append(path.name), replace_file(path, data))
    )
    studio.generate()
    assert order[:2] == ["01-01", "film.json"]


@pytest.mark.parametrize("name", ["take.json", "frames.safetensors", "master.mkv", "keyframes/00.png"])
@pytest.mark.parametrize("how", ["bit", "cut short", "gone"])
def test_a_broken_take_is_set_aside_and_made_again(finished: Studio, name: str, how: str) -> None:
    before = content(finished.folder)
    folder = finished.take("01-02").folder
    if how == "bit":
        flip(folder / name)
    elif how == "gone":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes((folder / name).read_bytes()[:-2])
    events = finished.generate()
    damaged = of(events, TakeDamaged)
    assert [event.shot_id for event in damaged] == ["01-02"]
    assert name in damaged[0].what
    assert damaged[0].aside is not None
    assert damaged[0].aside.is_dir()
    assert [event.shot_id for event in of(events, ShotFinished)] == ["01-02"]
    assert content(finished.folder) == before


def test_a_take_that_is_gone_is_made_again(finished: Studio) -> None:
    import shutil

    before = content(finished.folder)
    shutil.rmtree(finished.take("01-01").folder)
    assert finished.statuses()[0] == "damaged"
    events = finished.generate()
    assert [(event.shot_id, event.aside) for event in of(events, TakeDamaged)] == [("01-01", None)]
    assert [event.shot_id for event in of(events, ShotFinished)] == ["01-01"]
    assert content(finished.folder) == before


def test_a_lost_film_json_costs_no_take(finished: Studio) -> None:
    before = content(finished.folder)
    (finished.folder / "film.json").unlink()
    events = finished.generate()
    assert of(events, ShotStarted) == []
    assert content(finished.folder) == before


def test_a_new_prompt_in_the_script_makes_the_shot_stale(finished: Studio) -> None:
    finished.script = finished.script.replace("The lantern goes out.", "The lantern burns on.")
    events = finished.generate()
    assert [(e.shot_id, e.reason) for e in of(events, ShotStale)] == [("01-03", "prompt changed")]
    assert finished.maker.requests == []
    assert finished.statuses() == ["done", "done", "stale"]
    events = finished.generate(remake=True)
    assert [event.shot_id for event in of(events, ShotFinished)] == ["01-03"]
    assert finished.statuses() == ["done"] * 3
    # Back to the old words: the old take is still there.
    finished.script = finished.script.replace("The lantern burns on.", "The lantern goes out.")
    events = finished.generate(remake=True)
    assert of(events, ShotStarted) == []
    assert finished.statuses() == ["done"] * 3


def test_only_what_depends_on_a_change_is_remade(finished: Studio) -> None:
    finished.script = finished.script.replace("walks into the forest", "runs out of the forest")
    finished.generate()
    assert finished.statuses() == ["done", "stale", "done"]
    events = finished.generate(remake=True)
    # The third sees a keyframe of the second.
    assert [event.shot_id for event in of(events, ShotFinished)] == ["01-02", "01-03"]
    assert of(events, ShotStarted)[1].reason == "memory changed: keyframes of shot 01-02"


def test_missing_shots_see_the_stale_take_that_is_in_the_film(finished: Studio) -> None:
    old = finished.take("01-03").record
    finished.script = finished.script.replace("The lantern goes out.", "It rains.")
    finished.script += "      - prompt: Morning.\n"
    events = finished.generate()
    assert [event.shot_id for event in of(events, ShotStale)] == ["01-03"]
    (started,) = of(events, ShotStarted)
    assert started.shot_id == "01-04"
    assert {k.id for k in old.keyframes} <= {seen.id for seen in started.memory}


def test_a_shot_put_in_front_changes_nothing_that_does_not_see_it(studio: Studio) -> None:
    studio.script = "title: T\nscenes:\n  - shots:\n      - {id: tower, prompt: A tower.}\n"
    studio.generate()
    before = studio.plan()[0]
    studio.script += "      - {id: night, prompt: Night falls., forget: true}\n"
    studio.script = studio.script.replace("shots:\n", "shots:\n      - {id: opening, prompt: Morning.}\n")
    studio.generate()
    opening, tower, night = studio.plan()
    assert tower.seed == before.seed
    assert (tower.status, tower.reason) == ("stale", "memory changed: keyframes of shot opening")
    assert (opening.status, night.status, night.mode) == ("done", "done", "t2v")
    assert len({opening.seed, tower.seed, night.seed}) == 3


def test_a_director_with_other_tools_is_refused(finished: Studio) -> None:
    with Film.work(finished.folder) as film, pytest.raises(FilmError, match="another model"):
        Director(film, tools("another"))


class Broken(ProceduralMaker):
    """Gives what is no shot."""

    def __init__(self, spoil: Callable[[FloatArray], FloatArray]) -> None:
        super().__init__()
        self.spoil = spoil

    def make(self, request: ShotRequest, on_step: Callable[[int, int], None]) -> FloatArray:
        return self.spoil(super().make(request, on_step))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda frames: np.where(frames > 0.5, np.float32(np.nan), frames), "no numbers"),
        (lambda frames: frames[1:], r"float32 \[4, 3, 32, 32\] in place of"),
        (lambda frames: frames.astype(np.float64), "float64"),
    ],
)
def test_what_is_no_shot_never_gets_into_a_film(
    studio: Studio, spoil: Callable[[FloatArray], FloatArray], says: str
) -> None:
    studio.tools = Tools(Broken(spoil), studio.tools.encoder, studio.tools.scorer)
    with pytest.raises(ModelError, match=says):
        studio.generate()
    assert not Film.is_in(studio.folder)
    assert not list(studio.folder.glob("takes/*/*"))


def test_events_are_json(studio: Studio) -> None:
    events: list[Event] = []
    with studio.begin() as film:
        for event in Director(film, studio.tools).generate(on_step=events.append):
            events.append(event)
    lines = [json.dumps(event.to_json(), allow_nan=False) for event in events]
    facts = [json.loads(line) for line in lines]
    assert [fact["event"] for fact in facts[:5]] == [
        "film_planned",
        "shot_started",
        "step_done",
        "step_done",
        "keyframes_chosen",
    ]
    assert facts[0]["shots"][1]["decided_after"] == "01-01"
    assert facts[0]["shots"][0]["status"] == "missing"


def test_time_left_shrinks_to_nothing(studio: Studio) -> None:
    steps: list[StepDone] = []
    with studio.begin() as film:
        list(Director(film, studio.tools).generate(on_step=steps.append))
    assert [(s.shot_id, s.done, s.steps) for s in steps] == [(i, n, 2) for i in IDS for n in (1, 2)]
    assert all(step.film_seconds_left >= step.shot_seconds_left >= 0 for step in steps)
    assert steps[-1].film_seconds_left == steps[-1].shot_seconds_left


def test_the_time_of_missing_shots_is_told_from_older_takes(finished: Studio) -> None:
    finished.script += "      - prompt: Morning.\n"
    planned = finished.generate()[0]
    assert isinstance(planned, FilmPlanned)
    assert planned.to_make == ("01-04",)
    assert planned.seconds_left is not None
    assert planned.seconds_left > 0
