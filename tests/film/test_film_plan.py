from __future__ import annotations

import json
from dataclasses import replace

import pytest
from filming import Studio, flip, of
from procedural import tiny_settings

from storymem.errors import FilmError
from storymem.film.events import ShotFinished, ShotStale, ShotStarted
from storymem.film.plan import plan_film
from storymem.film.project import Film

FIVE = """\
title: Five
scenes:
  - shots:
      - {id: a, prompt: A tower.}
      - {id: b, prompt: A river., cut: false}
      - {id: c, prompt: A hill.}
      - {id: d, prompt: A field., forget: true}
      - {id: e, prompt: A road.}
"""


@pytest.fixture
def five(studio: Studio) -> Studio:
    studio.script = FIVE
    return studio


def memory_of(studio: Studio) -> list[list[str] | None]:
    """For each shot the shots whose keyframes it sees."""
    out: list[list[str] | None] = []
    for planned in studio.plan():
        if planned.memory is None:
            out.append(None)
        else:
            out.append(sorted({seen.label.split(",")[0].removeprefix("shot ") for seen in planned.memory}))
    return out


def test_the_plan_of_a_film_that_is_not_begun(five: Studio) -> None:
    film = Film.preview(five.folder, story=five.story(), script=FIVE.encode(), settings=five.settings, tools=five.tools)
    plan = plan_film(film)
    assert [planned.mode for planned in plan] == ["t2v", "mi2v", "m2v", "t2v", "m2v"]
    assert [planned.status for planned in plan] == ["missing"] * 5
    assert [planned.decided_after for planned in plan] == [None, "a", "b", None, "d"]
    assert [planned.memory for planned in plan] == [(), None, None, (), None]
    assert [planned.num_frames for planned in plan] == [5] * 5
    assert len({planned.seed for planned in plan}) == 5
    assert five.maker.requests == []
    assert not five.folder.exists()


def test_the_plan_is_what_is_made(five: Studio) -> None:
    started = of(five.generate(), ShotStarted)
    plan = five.plan()
    assert [planned.status for planned in plan] == ["done"] * 5
    assert [(s.mode, s.seed, s.memory) for s in started] == [(p.mode, p.seed, p.memory) for p in plan]


def test_memory_is_forgotten(five: Studio) -> None:
    five.generate()
    assert memory_of(five) == [[], ["a"], ["a", "b"], [], ["d"]]


def test_pins_are_not_forgotten(five: Studio) -> None:
    five.generate()
    seen = five.plan()[1].memory
    assert seen is not None
    with Film.work(five.folder) as film:
        film.pin([seen[0].id])
    assert memory_of(five)[3:] == [["a"], ["a", "d"]]
    assert five.statuses() == ["done", "done", "done", "stale", "stale"]


def test_what_comes_after_forgetting_does_not_depend_on_what_was_before(five: Studio) -> None:
    five.generate()
    events = five.retake("a")
    assert [event.shot_id for event in of(events, ShotStale)] == ["b", "c"]
    assert five.statuses() == ["done", "stale", "stale", "done", "done"]
    made = of(five.generate(remake=True), ShotFinished)
    assert [event.shot_id for event in made] == ["b", "c"]


def test_without_memory_only_continued_shots_depend_on_others(five: Studio) -> None:
    five.settings = tiny_settings(capacity=0, sink=0)
    started = of(five.generate(), ShotStarted)
    assert [event.mode for event in started] == ["t2v", "mi2v", "t2v", "t2v", "t2v"]
    five.retake("a")
    planned = five.plan()[1]
    assert (planned.status, planned.reason) == ("stale", "last frames of shot a changed")
    assert five.statuses() == ["done", "stale", "done", "done", "done"]


def test_the_memory_is_bounded_and_keeps_its_sink(studio: Studio) -> None:
    studio.settings = tiny_settings(capacity=2, sink=1)
    shots = "".join(f"      - {{id: s{n}, prompt: Picture {n}.}}\n" for n in range(6))
    studio.script = f"title: T\nscenes:\n  - shots:\n{shots}"
    studio.generate()
    seen = [planned.memory for planned in studio.plan()]
    assert max(len(memory or ()) for memory in seen) == 2
    first = seen[1]
    assert first
    assert all(memory and memory[0] == first[0] for memory in seen[1:])


def test_memory_has_no_keyframe_of_a_later_shot_or_twice(five: Studio) -> None:
    five.generate()
    five.retake("c")
    order = {planned.shot.id: planned.shot.index for planned in five.plan()}
    for planned in five.plan():
        assert planned.memory is not None
        ids = [seen.id for seen in planned.memory]
        assert len(ids) == len(set(ids))
        for seen in planned.memory:
            assert order[seen.label.split(",")[0].removeprefix("shot ")] < planned.shot.index


def test_reasons(five: Studio) -> None:
    five.generate()
    five.settings = replace(five.settings, negative_prompt="blur", continue_with="mm2v", seed=8)
    five.sample(num_frames=9, fps=8)
    five.play("another")
    with five.begin(adopt_settings=True) as film:
        film.save(film.manifest)
    plan = five.plan()
    assert plan[0].reason == ("negative prompt changed; seed changed; model changed; settings changed: fps, num_frames")
    assert [planned.status for planned in plan] == ["stale"] * 5


def test_a_cut_that_was_put_in_or_taken_out(five: Studio) -> None:
    five.generate()
    five.script = FIVE.replace(", cut: false", "")
    five.generate()
    assert five.plan()[1].reason == "begins with a cut now"
    five.generate(remake=True)
    five.script = FIVE
    five.generate()
    assert five.plan()[1].reason == "continues the shot before now"


def test_keyframes_chosen_in_another_way(five: Studio) -> None:
    five.generate()
    five.settings = tiny_settings(max_keyframes_per_shot=1)
    five.generate(remake=True)
    assert five.statuses() == ["done"] * 5
    assert all(len(five.take(shot_id).record.keyframes) <= 1 for shot_id in "abcde")


def test_a_stale_shot_of_another_size_cannot_be_continued(five: Studio) -> None:
    five.generate()
    five.sample(width=48)
    with five.begin(adopt_settings=True) as film:
        film.save(film.manifest)
    planned = five.plan()[1]
    assert (planned.status, planned.reason) == ("stale", "continues shot a, whose take has another size than the film")
    assert [event.shot_id for event in of(five.generate(), ShotStale)] == list("abcde")
    with pytest.raises(FilmError, match=r"Shot b cannot be retaken before shot a is made: .* with --remake first"):
        five.retake("b")
    five.script = FIVE.replace("      - {id: c", "      - {id: b2, prompt: A sea., cut: false}\n      - {id: c")
    with pytest.raises(FilmError, match="Shot b2 continues shot b, whose take has another size"):
        five.generate()
    five.generate(remake=True)
    assert five.statuses() == ["done"] * 6


def test_shots_that_left_the_script_keep_their_takes(five: Studio) -> None:
    five.generate()
    key = five.chosen()["c"]
    five.script = FIVE.replace("      - {id: c, prompt: A hill.}\n", "")
    five.generate()
    assert [planned.shot.id for planned in five.plan()] == list("abde")
    five.script = FIVE
    assert of(five.generate(), ShotStarted) == []
    assert five.chosen()["c"] == key
    assert five.statuses() == ["done"] * 5


def test_a_damaged_take_keeps_what_follows_undecided(five: Studio) -> None:
    five.generate()
    flip(five.take("a").master)
    assert five.statuses() == ["done"] * 5  # a look at records and sizes sees nothing
    plan = plan_film(five.film(), verify=True)
    assert [planned.status for planned in plan] == ["damaged", "done", "done", "done", "done"]
    assert plan[1].reason == "is looked at again when shot a is made"
    assert plan[1].memory is None


def test_frames_that_cannot_be_understood_are_damage_not_a_traceback(five: Studio) -> None:
    five.generate()
    path = five.take("a").folder / "frames.safetensors"
    size = path.stat().st_size
    path.write_bytes(b"\xff" * size)  # the size is right, the header is not
    assert five.statuses()[0] == "damaged"
    import safetensors.numpy

    tensors = safetensors.numpy.load((five.take("c").folder / "frames.safetensors").read_bytes())
    tensors["embeddings"] = tensors["embeddings"] * 2
    (five.take("c").folder / "frames.safetensors").write_bytes(safetensors.numpy.save(tensors))
    planned = five.plan()[2]
    assert planned.status == "damaged"
    assert "unit norm" in planned.reason


def test_the_plan_is_json(five: Studio) -> None:
    five.generate()
    facts = json.loads(json.dumps([planned.to_json() for planned in five.plan()], allow_nan=False))
    assert facts[1]["takes"] == [{"key": five.chosen()["b"], "seed": five.plan()[1].seed, "score": None}]
    assert facts[1]["chosen"] == facts[1]["key"]
    assert (facts[1]["status"], facts[1]["mode"], facts[1]["cut"]) == ("done", "mi2v", False)
