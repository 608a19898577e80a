"""Other takes of a shot: making them, choosing between them, and what they make stale."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import pytest
from fault_server import content
from filming import Studio, flip, of

from storymem.errors import FilmDamagedError, FilmError
from storymem.film.director import Director
from storymem.film.events import ShotFinished, ShotReused, ShotStale, ShotStarted, StepDone
from storymem.film.picks import shot_seed
from storymem.film.project import Film

IDS = ["01-01", "01-02", "01-03"]


def test_retake_with_the_next_seed(finished: Studio) -> None:
    old = finished.chosen()
    events = finished.retake("01-01")
    (started,) = of(events, ShotStarted)
    assert started.seed == shot_seed(7, "01-01", 1)
    assert [event.shot_id for event in of(events, ShotStale)] == ["01-02", "01-03"]
    assert of(events, ShotStale)[0].reason == (
        "memory changed: keyframes of shot 01-01; last frames of shot 01-01 changed"
    )
    assert finished.chosen()["01-01"] != old["01-01"]
    assert [kept.key for kept in finished.plan()[0].kept] == [old["01-01"], finished.chosen()["01-01"]]
    assert finished.statuses() == ["done", "stale", "stale"]
    finished.retake("01-01")
    seeds = [kept.seed for kept in finished.plan()[0].kept]
    assert seeds == [shot_seed(7, "01-01", number) for number in range(3)]
    assert len(set(seeds)) == 3


def test_remake_after_a_retake_makes_what_a_film_from_nothing_would_have(finished: Studio, tmp_path: Path) -> None:
    finished.retake("01-01", seed=5)
    finished.generate(remake=True)
    other = Studio(tmp_path / "other")
    other.script = other.script.replace("Mara lights a lantern.", "Mara lights a lantern.\n        seed: 5")
    other.generate()
    for shot_id in IDS:
        ours, theirs = finished.take(shot_id), other.take(shot_id)
        assert ours.key == theirs.key
        for name in ("frames.safetensors", "master.mkv"):
            assert (ours.folder / name).read_bytes() == (theirs.folder / name).read_bytes()


def test_retake_with_a_prompt_keeps_the_seed(finished: Studio) -> None:
    (started,) = of(finished.retake("01-03", prompt="Mara sleeps."), ShotStarted)
    assert started.seed == shot_seed(7, "01-03")
    assert finished.maker.requests[0].prompt == "Mara, a girl with a red coat, sleeps."
    assert finished.plan()[2].prompt == "Mara sleeps."
    assert finished.statuses() == ["done"] * 3
    assert of(finished.generate(remake=True), ShotStarted) == []


def test_the_same_retake_again_makes_nothing(finished: Studio) -> None:
    finished.retake("01-02", seed=3)
    before = content(finished.folder)
    events = finished.retake("01-02", seed=3)
    assert [event.shot_id for event in of(events, ShotReused)] == ["01-02"]
    assert content(finished.folder) == before


def test_a_retake_that_is_stopped_changes_nothing(finished: Studio) -> None:
    before = content(finished.folder)

    def stop(_: StepDone) -> None:
        raise KeyboardInterrupt

    with Film.work(finished.folder) as film:
        with pytest.raises(KeyboardInterrupt):
            list(Director(film, finished.tools).retake("01-01", on_step=stop))
        assert film.manifest.overrides == {}
    assert content(finished.folder) == before


def test_a_changed_prompt_in_the_script_is_stronger_than_an_older_retake(finished: Studio) -> None:
    finished.retake("01-03", prompt="It rains.")
    finished.script = finished.script.replace("The lantern goes out.", "Morning comes.")
    finished.generate(remake=True)
    assert finished.plan()[2].prompt == "Morning comes."
    assert finished.take("01-03").record.prompt == "Morning comes."


def test_a_retake_of_a_shot_that_left_the_script_says_nothing_of_another(finished: Studio) -> None:
    finished.retake("01-03", prompt="It rains.", seed=5)
    whole = finished.script
    finished.script = whole.replace("      - prompt: The lantern goes out.\n", "")
    finished.generate(remake=True)
    assert [planned.shot.id for planned in finished.plan()] == IDS[:2]
    finished.script = whole.replace("The lantern goes out.", "Morning comes.")
    finished.generate(remake=True)
    assert finished.plan()[2].prompt == "Morning comes."
    assert finished.take("01-03").record.prompt == "Morning comes."


def test_a_retaken_shot_comes_back_with_its_retake(finished: Studio) -> None:
    finished.retake("01-03")
    retaken, whole = finished.chosen(), finished.script
    finished.script = whole.replace("      - prompt: The lantern goes out.\n", "")
    finished.generate()
    finished.retake("01-01")  # what 01-03 saw is another picture now, and that makes it stale and no more
    finished.script = whole
    assert not of(finished.generate(), ShotFinished)
    assert finished.chosen()["01-03"] == retaken["01-03"]
    assert finished.statuses()[2] == "stale"
    assert finished.plan()[2].seed == shot_seed(7, "01-03", 1)


def test_what_has_no_folder_any_more_does_not_come_back(finished: Studio) -> None:
    whole = finished.script
    finished.script = whole.replace("      - prompt: The lantern goes out.\n", "")
    finished.generate()
    shutil.rmtree(finished.folder / "takes" / "01-03")
    finished.script = whole
    with finished.begin():
        assert finished.statuses() == ["done", "done", "missing"]
    assert [made.shot_id for made in of(finished.generate(), ShotFinished)] == ["01-03"]


def test_choose_an_older_take(finished: Studio) -> None:
    before = finished.chosen()
    finished.retake("01-01", prompt="Mara yawns.", seed=11)
    newer = finished.chosen()["01-01"]
    with Film.work(finished.folder) as film:
        film.choose("01-01", before["01-01"][:8])
    assert finished.chosen() == before
    assert finished.statuses() == ["done"] * 3
    with Film.work(finished.folder) as film:
        film.choose("01-01", newer)
    planned = finished.plan()[0]
    assert (planned.prompt, planned.seed, planned.status) == ("Mara yawns.", 11, "done")
    assert of(finished.generate(), ShotStarted) == []


def test_choose_refuses(finished: Studio) -> None:
    finished.retake("01-01", seed=4)
    with Film.work(finished.folder) as film:
        with pytest.raises(FilmError, match="Shot 01-01 has no take 'ffff'; its takes are: "):
            film.choose("01-01", "ffff")
        with pytest.raises(FilmError, match="has no take ''"):
            film.choose("01-01", "")
        with pytest.raises(FilmError, match=r"no shot '09-09'; its shots are 01-01, 01-02, 01-03"):
            film.choose("09-09", "a")
        kept = film.manifest.kept["01-01"]
        flip(film.takes.folder_of("01-01", kept[0].key) / "master.mkv")
        with pytest.raises(FilmDamagedError, match=r"master\.mkv"):
            film.choose("01-01", kept[0].key)
        assert film.manifest.chosen["01-01"] == kept[1].key


def test_choose_a_retake_whose_film_json_was_lost(finished: Studio) -> None:
    finished.retake("01-03", seed=4)
    key = finished.chosen()["01-03"]
    (finished.folder / "film.json").unlink()
    finished.generate()
    assert finished.chosen()["01-03"] != key
    with Film.work(finished.folder) as film:
        film.choose("01-03", key[:16])
    assert finished.chosen()["01-03"] == key
    assert finished.statuses() == ["done"] * 3


def test_retake_needs_the_shots_before(studio: Studio) -> None:
    with studio.begin() as film:
        iterator = Director(film, studio.tools).generate()
        while not isinstance(next(iterator), ShotFinished):
            pass
    with pytest.raises(FilmError, match=r"Shot 01-03 cannot be retaken before shot 01-02 is made"):
        studio.retake("01-03")


@pytest.mark.parametrize("luck", range(5))
def test_whatever_was_done_a_remade_film_is_that_of_its_prompts_and_seeds(
    finished: Studio, tmp_path: Path, luck: int
) -> None:
    """Retakes, choices, edits and damage in any order leave no trace but the prompts and seeds that are in force."""
    random = Random(luck)
    for number in range(8):
        shot_id = random.choice(IDS)
        action = random.choice(["retake", "seed", "prompt", "choose", "edit", "break", "delete", "remake"])
        if action in ("break", "delete"):
            folder = finished.take(shot_id).folder
            if action == "delete":
                shutil.rmtree(folder)
            else:
                flip(random.choice(sorted(path for path in folder.rglob("*") if path.is_file())), random.random())
            finished.generate()
        elif action == "edit":
            old = finished.script.splitlines()
            line = random.choice([at for at, text in enumerate(old) if "- prompt:" in text])
            old[line] = f"      - prompt: Mara does thing {number}."
            finished.script = "\n".join(old) + "\n"
            finished.generate()
        elif action == "choose":
            kept = finished.film().manifest.kept[shot_id]
            with Film.work(finished.folder) as film:
                film.choose(shot_id, random.choice(kept).key)
        elif action == "remake":
            finished.generate(remake=True)
        else:
            changes = {"seed": {"seed": number}, "prompt": {"prompt": f"Mara tries {number}."}}
            finished.retake(shot_id, **changes.get(action, {}))
    finished.generate(remake=True)
    assert finished.statuses() == ["done"] * 3

    other = Studio(tmp_path / "other")
    lines = ["title: The lantern", "cast: {Mara: a girl with a red coat}", "shots:"]
    for planned in finished.plan():
        shot = {"prompt": planned.prompt, "seed": planned.seed, "cut": planned.shot.cut}
        lines.append(f"  - {json.dumps(shot)}")
    other.script = "\n".join(lines)
    other.generate()
    assert other.chosen() == finished.chosen()
    for shot_id in IDS:
        ours, theirs = finished.take(shot_id).folder, other.take(shot_id).folder
        for name in ("frames.safetensors", "master.mkv"):
            assert (ours / name).read_bytes() == (theirs / name).read_bytes()
