"""Several takes of a shot, of which a critic puts one into the film."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fault_server import content
from filming import Studio, flip, of
from procedural import THREE_SHOTS

from storymem.errors import FilmError, ModelError, SettingsError
from storymem.film.choosers import critic_for
from storymem.film.critics import register_critic
from storymem.film.director import Director
from storymem.film.events import (
    Event,
    FilmFinished,
    FilmPlanned,
    KeyframesChosen,
    ShotFinished,
    ShotReused,
    ShotStarted,
    TakeChosen,
    TakeDamaged,
    TakeFinished,
)
from storymem.film.film_settings import FilmSettings
from storymem.film.picks import Pick, shot_seed
from storymem.film.plan import plan_film
from storymem.film.project import Film
from storymem.film.tidy import leftovers, tidy
from storymem.media import from_uint8, read_video
from storymem.memory.bank import FloatArray

IDS = ["01-01", "01-02", "01-03"]


class Brightest:
    """Likes light, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.characters: list[tuple[str, ...] | None] = []

    def score(
        self, frames: FloatArray, *, prompt: str, characters: Sequence[str] | None, pictures: Sequence[FloatArray]
    ) -> float:
        self.asked.append((prompt, len(pictures)))
        self.characters.append(None if characters is None else tuple(characters))
        return float(frames.mean())


def ask_for(studio: Studio, takes: int, critic: Brightest | None = None) -> Studio:
    """A studio whose films have so many takes of each shot."""
    studio.settings = replace(studio.settings, takes=takes, critic="none" if critic is None else "brightest")
    studio.tools = replace(studio.tools, critic=critic)
    return studio


@pytest.fixture(scope="session")
def best_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished film of three takes of each of three shots."""
    studio = ask_for(Studio(tmp_path_factory.mktemp("best") / "film"), 3, Brightest())
    studio.generate()
    return studio.folder


@pytest.fixture
def best(studio: Studio, best_folder: Path) -> Studio:
    shutil.copytree(best_folder, studio.folder)
    return ask_for(studio, 3, Brightest())


def light(studio: Studio, shot_id: str) -> dict[int, float]:
    """How bright every take of a shot is, by its seed."""
    film = studio.film()
    found = {}
    for kept in film.manifest.kept[shot_id]:
        take = film.takes.find(shot_id, kept.key, verify=True)
        assert take is not None
        found[kept.seed] = float(from_uint8(np.stack(list(read_video(take.master)))).mean())
    return found


def test_the_best_of_three_is_in_the_film(best: Studio) -> None:
    for planned in best.plan():
        bright = light(best, planned.shot.id)
        assert list(bright) == [shot_seed(7, planned.shot.id, number) for number in range(3)]
        assert planned.seed == max(bright, key=bright.__getitem__)
        assert planned.take is not None
        assert planned.take.record.recipe.seed == planned.seed
        assert {kept.seed: kept.score for kept in planned.kept} == pytest.approx(bright)
    assert best.statuses() == ["done"] * 3
    numbers = [best.film().manifest.pick(shot_id) for shot_id in IDS]
    assert {pick.of for pick in numbers} == {3}
    assert {pick.number for pick in numbers} != {0}, "the first would have done"
    assert of(best.generate(), ShotStarted) == []


def test_events_tell_of_every_take(studio: Studio) -> None:
    events = ask_for(studio, 2, Brightest()).generate()
    of_first = [event for event in events if getattr(event, "shot_id", "") == "01-01"]
    kinds = [ShotStarted, TakeFinished, ShotStarted, TakeFinished, TakeChosen, KeyframesChosen, ShotFinished]
    assert [type(event) for event in of_first] == kinds
    assert [(event.take, event.takes) for event in of(of_first, ShotStarted)] == [(1, 2), (2, 2)]
    (chosen,) = of(of_first, TakeChosen)
    assert chosen.key == studio.chosen()["01-01"]
    assert chosen.take == 1 + chosen.scores.index(max(chosen.scores))
    assert of(events, FilmFinished)[0].made == tuple(IDS)


def test_a_critic_is_told_what_the_model_was_told(studio: Studio) -> None:
    critic = Brightest()
    ask_for(studio, 2, critic).generate()
    asked = [(request.prompt, len(request.memory)) for request in studio.maker.requests]
    assert sorted(critic.asked) == sorted(asked)
    assert critic.asked[0] == ("Mara, a girl with a red coat, lights a lantern.", 0)
    assert critic.asked[-1][1] > 0
    assert critic.characters == [("Mara",)] * 4 + [None] * 2


def test_without_a_critic_the_first_is_in_the_film_and_the_others_are_kept(studio: Studio) -> None:
    events = ask_for(studio, 2).generate()
    assert [event.scores for event in of(events, TakeChosen)] == [(), (), ()]
    for planned in studio.plan():
        assert planned.seed == shot_seed(7, planned.shot.id)
        assert [(kept.seed, kept.score) for kept in planned.kept] == [
            (shot_seed(7, planned.shot.id, number), None) for number in range(2)
        ]


def test_the_first_of_several_is_the_one_of_a_film_with_one(finished: Studio, studio: Studio, tmp_path: Path) -> None:
    other = ask_for(Studio(tmp_path / "other"), 2)
    other.generate()
    assert other.chosen() == finished.chosen()


@pytest.mark.parametrize("last", [ShotStarted, TakeFinished, TakeChosen, KeyframesChosen, ShotFinished])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_film_stopped_anywhere_comes_out_the_same(
    studio: Studio, best_folder: Path, last: type[Event], count: int
) -> None:
    ask_for(studio, 3, Brightest())
    seen = 0
    with studio.begin() as film:
        for event in Director(film, studio.tools).generate():
            seen += isinstance(event, last)
            if seen == count:
                break
    made = sum(1 for _ in studio.folder.glob("takes/*/[0-9a-f]*"))
    events = studio.generate()
    assert len(of(events, ShotStarted)) == 9 - made, "a finished take was made again"
    assert content(studio.folder) == content(best_folder)


def test_a_kill_between_a_take_and_its_note_changes_nothing(
    studio: Studio, best_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(film: Film, take: object) -> None:
        raise KeyboardInterrupt

    ask_for(studio, 3, Brightest())
    with monkeypatch.context() as patch:
        patch.setattr(Film, "keep", killed)
        with pytest.raises(KeyboardInterrupt):
            studio.generate()
    assert len(of(studio.generate(), ShotStarted)) == 8
    assert content(studio.folder) == content(best_folder)


def test_film_json_lost_is_chosen_again_from_what_is_there(best: Studio, best_folder: Path) -> None:
    (best.folder / "film.json").unlink()
    with best.begin() as film:
        planned = plan_film(film)[0]
    assert (planned.status, planned.lacking) == ("missing", 0)
    assert planned.reason == "its 3 takes are there, and one is yet to be chosen"
    events = best.generate()
    assert of(events, ShotStarted) == []
    assert [event.shot_id for event in of(events, ShotReused)] == IDS
    assert content(best.folder) == content(best_folder)


def test_a_damaged_take_is_made_again(best: Studio, best_folder: Path) -> None:
    before = best.chosen()
    flip(best.take("01-02").master)
    events = best.generate()
    assert [event.shot_id for event in of(events, TakeDamaged)] == ["01-02"]
    (started,) = of(events, ShotStarted)
    assert (started.take, started.takes) == (1, 1)
    assert of(events, TakeChosen) == []
    assert content(best.folder) == content(best_folder)
    assert best.chosen() == before


def test_a_damaged_take_is_made_again_alone_where_the_others_are_gone(best: Studio) -> None:
    before = best.chosen()
    with Film.work(best.folder) as film:
        tidy(film)
    flip(best.take("01-01").master)
    events = best.generate()
    assert len(of(events, ShotStarted)) == 1
    assert (best.chosen(), best.statuses()) == (before, ["done"] * 3)


def test_a_damaged_take_of_which_more_are_wanted_is_chosen_anew(best: Studio) -> None:
    ask_for(best, 4, Brightest())
    flip(best.take("01-03").master)
    best.generate(remake=True)
    assert best.statuses() == ["done"] * 3
    assert {best.film().manifest.pick(shot_id).of for shot_id in IDS} == {4}


def test_a_damaged_retake_in_other_words_is_the_same_again(best: Studio) -> None:
    best.retake("01-01", prompt="Mara sleeps.")
    before = best.chosen()
    flip(best.take("01-01").master)
    assert len(of(best.generate(), ShotStarted)) == 1
    assert best.chosen() == before


def test_pictures_may_be_of_other_sizes(best: Studio) -> None:
    """Of shots that a film of another size has kept."""
    best.sample(width=48)
    with best.begin(adopt_settings=True) as film:
        list(Director(film, best.tools).generate(remake_stale=True, until="01-01"))
    best.script += "      - prompt: Mara is at home.\n"
    assert [event.shot_id for event in of(best.generate(), ShotStarted)] == ["01-04"] * 3


def test_scores_must_be_numbers(studio: Studio) -> None:
    class Nobody(Brightest):
        def score(self, frames: FloatArray, **told: object) -> float:
            return float("nan")

    ask_for(studio, 2, Nobody())
    with pytest.raises(ModelError, match="Shot 01-01: the critic gave nan, nan for its takes"):
        studio.generate()
    assert len(of(ask_for(studio, 2).generate(remake=True), ShotStarted)) == 4


def test_takes_are_known_as_soon_as_they_are_made(studio: Studio) -> None:
    ask_for(studio, 3, Brightest())
    with studio.begin() as film:
        for event in Director(film, studio.tools).generate():
            if isinstance(event, TakeFinished):
                break
    assert [kept.seed for kept in studio.film().manifest.kept["01-01"]] == [shot_seed(7, "01-01")]
    (planned, *_) = studio.plan()
    assert (planned.status, planned.wanted, planned.lacking) == ("missing", 3, 2)


class TestMoreAndFewer:
    def test_more_are_asked_for_with_remake(self, finished: Studio, best_folder: Path) -> None:
        ask_for(finished, 3, Brightest())
        with pytest.raises(FilmError, match=r"takes 1 \(asked for: 3\).*--remake"):
            finished.generate()
        events = finished.generate(remake=True)
        assert len(of(events, ShotStarted)) < 9, "the first shot's take was made again"
        assert (finished.chosen(), finished.statuses()) == (Film.open(best_folder).manifest.chosen, ["done"] * 3)

    def test_the_plan_says_so_first(self, finished: Studio) -> None:
        ask_for(finished, 3, Brightest())
        with finished.begin(adopt_settings=True) as film:
            events = Director(film, finished.tools).generate(remake_stale=True)
            (planned,) = of([next(iter(events))], FilmPlanned)
            assert [shot.status for shot in planned.shots] == ["stale"] * 3
            assert planned.shots[0].reason == "3 takes wanted, and chosen from 1"
            assert [shot.wanted for shot in planned.shots] == [3] * 3

    def test_fewer_change_nothing(self, best: Studio) -> None:
        before = best.chosen()
        ask_for(best, 1)
        assert of(best.generate(remake=True), ShotStarted) == []
        assert best.chosen() == before

    def test_another_seed_makes_all_of_them_anew(self, best: Studio) -> None:
        before = best.chosen()
        best.settings = replace(best.settings, seed=8)
        assert len(of(best.generate(remake=True), ShotStarted)) == 9
        assert not set(best.chosen().values()) & set(before.values())
        assert best.plan()[0].seed in {shot_seed(8, "01-01", number) for number in range(3)}

    def test_fewer_and_then_other_words(self, best: Studio) -> None:
        ask_for(best, 1)
        best.generate(remake=True)
        best.script = THREE_SHOTS.replace("Mara lights a lantern.", "Mara lights a candle.")
        best.generate(remake=True)
        assert best.statuses() == ["done"] * 3
        assert best.plan()[0].seed == shot_seed(7, "01-01")

    def test_another_critic_chooses_among_what_there_is(self, best: Studio) -> None:
        brightest = best.chosen()
        ask_for(best, 3)
        events = best.generate(remake=True)
        assert len(of(events, TakeChosen)) == 3
        assert len(of(events, ShotStarted)) < 9, "those of the first shot were made again"
        assert {best.film().manifest.pick(shot_id) for shot_id in IDS} == {Pick(0, 3, "none")}
        ask_for(best, 3, Brightest())
        with best.begin(adopt_settings=True) as film:
            (planned,) = of([next(iter(Director(film, best.tools).generate(remake_stale=True)))], FilmPlanned)
        assert planned.shots[0].reason == "chosen by the critic none, and brightest is asked for"
        assert planned.shots[0].lacking == 0
        assert of(best.generate(remake=True), ShotStarted) == []
        assert best.chosen() == brightest

    def test_time_is_asked_for_takes_that_are_not_there(self, best: Studio) -> None:
        ask_for(best, 4, Brightest())
        with best.begin(adopt_settings=True) as film:
            events = Director(film, best.tools).generate(remake_stale=True)
            (planned,) = of([next(iter(events))], FilmPlanned)
        assert [(shot.wanted, shot.lacking) for shot in planned.shots] == [(4, 1)] * 3
        past = [p.take.record.made["seconds"] for p in best.plan() if p.take is not None]
        assert planned.seconds_left is not None
        assert planned.seconds_left == pytest.approx(sum(past), rel=0.7)

    def test_none_are_refused(self) -> None:
        with pytest.raises(SettingsError, match="takes is 0; there must be at least 1"):
            FilmSettings(takes=0)


class TestByHand:
    def test_a_seed_in_the_script_means_one_take(self, studio: Studio) -> None:
        studio.script = THREE_SHOTS.replace("The lantern goes out.", "The lantern goes out.\n        seed: 5")
        events = ask_for(studio, 2, Brightest()).generate()
        assert [event.shot_id for event in of(events, ShotStarted)] == ["01-01"] * 2 + ["01-02"] * 2 + ["01-03"]
        assert studio.plan()[2].seed == 5
        assert studio.film().manifest.pick("01-03") == Pick()

    def test_a_retake_is_one_and_new(self, best: Studio) -> None:
        events = best.retake("01-03")
        (started,) = of(events, ShotStarted)
        assert started.seed == shot_seed(7, "01-03", 3)
        assert (started.take, started.takes) == (1, 1)
        assert of(events, FilmPlanned)[0].shots[0].wanted == 1
        assert best.statuses() == ["done"] * 3
        assert len(best.plan()[2].kept) == 4
        (again,) = of(best.retake("01-03"), ShotStarted)
        assert again.seed == shot_seed(7, "01-03", 4)
        assert of(best.generate(remake=True), ShotStarted) == []

    def test_a_retake_with_a_prompt_keeps_the_seed_that_was_chosen(self, best: Studio) -> None:
        before = best.plan()[2].seed
        (started,) = of(best.retake("01-03", prompt="Mara sleeps."), ShotStarted)
        assert started.seed == before
        assert best.statuses() == ["done"] * 3

    def test_shots_after_a_retake_are_remade_with_all_their_takes(self, best: Studio) -> None:
        best.retake("01-01")
        assert best.statuses() == ["done", "stale", "stale"]
        started = of(best.generate(remake=True), ShotStarted)
        assert [event.shot_id for event in started] == ["01-02"] * 3 + ["01-03"] * 3

    def test_one_that_was_retaken_in_other_words_is_remade_as_one(self, best: Studio) -> None:
        best.retake("01-02", prompt="Mara sleeps.")
        seed = best.plan()[1].seed
        best.retake("01-01")
        started = of(best.generate(remake=True), ShotStarted)
        assert [event.shot_id for event in started] == ["01-02"] + ["01-03"] * 3
        assert started[0].seed == best.plan()[1].seed == seed

    def test_a_retake_in_other_words_comes_back_with_the_words_that_it_was_for(self, best: Studio) -> None:
        best.retake("01-03", prompt="Mara sleeps.")
        retaken = best.chosen()["01-03"]
        best.script = THREE_SHOTS.replace("The lantern goes out.", "It is day.")
        best.generate(remake=True)
        assert best.chosen()["01-03"] != retaken
        best.script = THREE_SHOTS
        assert of(best.generate(remake=True), ShotStarted) == []
        assert best.chosen()["01-03"] == retaken

    def test_a_choice_stays_where_another_critic_is_asked_for(self, best: Studio) -> None:
        first = best.chosen()["01-01"]
        (other, *_) = (kept.key for kept in best.plan()[0].kept if kept.key != first)
        with Film.work(best.folder) as film:
            film.choose("01-01", other)
        ask_for(best, 3)
        best.generate(remake=True)
        with Film.work(best.folder) as film:
            film.choose("01-01", first)
        best.generate(remake=True)
        assert best.chosen()["01-01"] == first
        assert best.statuses() == ["done"] * 3

    def test_another_of_them_can_be_chosen_and_the_first_choice_again(self, best: Studio) -> None:
        before = best.chosen()["01-03"]
        others = [kept.key for kept in best.plan()[2].kept if kept.key != before]
        for key in (*others, before):
            with Film.work(best.folder) as film:
                film.choose("01-03", key[:16])
            assert best.chosen()["01-03"] == key
            assert best.statuses() == ["done"] * 3
            assert of(best.generate(remake=True), ShotStarted) == []
        assert best.film().manifest.overrides == {}

    def test_a_shot_that_left_and_another_in_its_place(self, best: Studio) -> None:
        best.script = THREE_SHOTS.replace("      - prompt: The lantern goes out.\n", "")
        best.generate()
        best.script = THREE_SHOTS.replace("The lantern goes out.", "It is day.")
        assert len(of(best.generate(), ShotStarted)) == 3


def test_tidy_keeps_takes_that_are_to_be_chosen_from(studio: Studio) -> None:
    ask_for(studio, 3, Brightest())
    with studio.begin() as film:
        for event in Director(film, studio.tools).generate():
            if isinstance(event, TakeFinished) and event.take == 2:
                break
    assert leftovers(studio.film()) == ()


def test_tidy_offers_those_that_were_not_chosen(best: Studio) -> None:
    assert len(leftovers(best.film())) == 6


def test_critics_go_by_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storymem.film.critics._KNOWN", {})
    register_critic("brightest", Brightest)
    critic = critic_for("brightest")
    assert critic is not None
    frames = np.full((5, 3, 8, 8), 0.25, dtype=np.float32)
    assert critic.score(frames, prompt="", characters=(), pictures=()) == pytest.approx(0.25)
    assert critic_for("none") is None
    with pytest.raises(SettingsError, match=r"critic is 'nobody'; it must be one of none, brightest"):
        critic_for("nobody")
