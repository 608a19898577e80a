"""The commands as a user runs them, on the tiny reference checkpoint; signals go to a process of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storymem.media import probe_video, write_png


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "NO_COLOR": "1", "COLUMNS": "200"}


Storymem = Callable[..., str]


def events(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def test_a_film_from_script_to_mp4_and_on(storymem: Storymem, script: Path, options: list[str], tmp_path: Path) -> None:
    """A user's day: plan, make, look, retake, remake, choose, export."""
    film = tmp_path / "film"

    plan = storymem("generate", script, "-o", film, *options, "--dry-run")
    assert "3 shots (3 missing)" in plan
    assert re.search(r"about [\d.]+ s to make it", plan)
    assert not film.exists()

    made = events(storymem("generate", script, "-o", film, *options, "--json"))
    kinds = [event["event"] for event in made]
    assert kinds[0] == "film_planned"
    assert kinds.count("step_done") == 3 * 2
    assert [event["shot_id"] for event in made if event["event"] == "shot_finished"] == ["01-01", "01-02", "02-01"]
    assert [event["mode"] for event in made if event["event"] == "shot_started"] == ["t2v", "mi2v", "m2v"]
    info = probe_video(film / "film.mp4")
    assert (info.width, info.height, info.num_frames) == (48, 32, 5 + 4 + 5)
    assert info.metadata["title"] == "The Fox and the Lantern"
    assert len(info.chapters) == 3
    assert (film / "contact_sheet.png").is_file()
    assert len(list((film / "clips").glob("*.mp4"))) == 3
    assert {path.suffix for path in film.glob("film.*")} == {".mp4", ".json", ".otio", ".edl", ".fcpxml"}

    before = (film / "film.mp4").stat()
    again = storymem("generate", script, "-o", film)  # the film knows its own settings
    assert again.count("is there already") == 3
    assert (film / "film.mp4").stat().st_mtime_ns == before.st_mtime_ns

    retaken = storymem("retake", film, "01-02")
    assert "01-02  made" in retaken
    status = json.loads(storymem("status", film, "--json"))
    by_id = {shot["shot_id"]: shot for shot in status["shots"]}
    assert len(by_id["01-02"]["takes"]) == 2
    assert by_id["01-01"]["status"] == by_id["01-02"]["status"] == "done"
    stale = by_id["02-01"]["status"]
    assert stale in ("done", "stale")  # whether the memory changed is the keyframes' business

    first = by_id["01-02"]["takes"][0]["key"]
    assert first[:16] in storymem("choose", film, "01-02", first[:12])
    assert json.loads(storymem("status", film, "--json"))["counts"]["done"] == 3
    storymem("export", film, "--what", "sheet", "--to", tmp_path / "elsewhere")
    assert [path.name for path in (tmp_path / "elsewhere").glob("*.png")] == ["contact_sheet.png"]


def test_tidying_lists_before_it_removes(storymem: Storymem, script: Path, options: list[str], tmp_path: Path) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--no-export")
    assert storymem("tidy", film) == "There is nothing that the film does not need.\n"
    (old,) = (film / "takes" / "02-01").iterdir()
    storymem("retake", film, "02-01", "--no-export")
    told = storymem("tidy", film)
    assert f"takes/02-01/{old.name}  a take of 02-01, not in the film" in told
    assert re.search(r"1 folder, [\d.]+ MB can be removed: add --remove\.", told)
    assert old.is_dir()
    listed, summary = events(storymem("tidy", film, "--remove", "--json"))
    assert listed["path"] == f"takes/02-01/{old.name}"
    assert (summary["folders"], summary["bytes"], summary["removed"]) == (1, listed["bytes"], True)
    assert not old.exists()
    assert json.loads(storymem("status", film, "--json"))["counts"]["done"] == 3


def test_portraits_are_made_first_and_shown_apart(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film = tmp_path / "film"
    asked = ("generate", script, "-o", film, *options, "--portraits", "--recall", "cast", "--no-export")
    plan = storymem(*asked, "--dry-run")
    assert "a shot sees the cast that it names" in plan
    assert "3 shots and 1 portrait (4 missing); 14 frames" in plan
    assert plan.index("Portraits") < plan.index("portrait-rudi") < plan.index("01-01")
    first = storymem(*asked[:-1], "--until", "portraits")  # and would export, if the film were whole
    assert "portrait-rudi  made" in first
    (picture,) = (film / "takes" / "portrait-rudi").glob("*/keyframes/00.png")
    assert f"portrait-rudi: {picture}\n" in first
    assert "Made up to portrait-rudi, and not exported: run the same command without --until for the rest." in first
    shutil.rmtree(film)
    made = events(storymem(*asked, "--json"))
    started = {event["shot_id"]: event for event in made if event["event"] == "shot_started"}
    assert list(started) == ["portrait-rudi", "01-01", "01-02", "02-01"]
    assert started["portrait-rudi"]["memory"] == []
    assert [seen["label"] for seen in started["02-01"]["memory"]] == ["Rudi (portrait)"]
    status = json.loads(storymem("status", film, "--json"))
    assert [shot["portrait_of"] for shot in status["portraits"]] == ["Rudi"]
    assert [shot["shot_id"] for shot in status["shots"]] == ["01-01", "01-02", "02-01"]
    (portrait, *_) = json.loads(storymem("memory", "list", film, "--json"))["keyframes"]
    assert (portrait["label"], portrait["seen_by"]) == ("Rudi (portrait)", ["01-01", "01-02", "02-01"])
    assert (film / portrait["picture"]).is_file()
    told = storymem("retake", film, "portrait-rudi", "--no-export")
    assert "01-01, 01-02, 02-01 are stale" in told
    storymem("memory", "ban", film, "Rudi (portrait)")
    storymem("generate", script, "-o", film, "--remake")
    assert json.loads(storymem("status", film, "--json"))["counts"] == {
        "done": 4,
        "stale": 0,
        "missing": 0,
        "damaged": 0,
    }
    assert probe_video(film / "film.mp4").num_frames == 5 + 4 + 5
    assert [path.name for path in sorted((film / "clips").iterdir())] == [
        "01_01-01.mp4",
        "02_01-02.mp4",
        "03_02-01.mp4",
    ]


def test_the_small_model_makes_portraits_unless_it_is_told_not_to(
    storymem: Storymem, script: Path, tmp_path: Path
) -> None:
    def plan(*options: str) -> str:
        return storymem("generate", script, "-o", tmp_path / "film", "--dry-run", *options)

    assert "3 shots and 1 portrait" in plan()
    assert "Rudi waves in the meadow at noon. Medium shot." in plan()
    assert "a shot sees the cast that it names" in plan()
    for options in (("--no-portraits", "--recall", "all"), ("--model", "tiny-random")):
        assert "3 shots (" in plan(*options)
        assert "a shot sees" not in plan(*options)
    assert "Rudi looks into the camera" in plan("--model", "tiny-random", "--portraits")


def test_notes_are_told_before_a_film_is_made(storymem: Storymem, tmp_path: Path) -> None:
    script, film = tmp_path / "story.yaml", tmp_path / "film"
    script.write_text("title: T\nshots: [{prompt: The quokka waves., num_frames: 29}]\n", encoding="utf-8")
    small = ("generate", script, "-o", film, "--steps", "1", "--no-export", "--size", "32x32")
    told = json.loads(storymem(*small, "--dry-run", "--json").splitlines()[-1])["notes"]
    for words, note in zip(("quokka", "at 32x32 it may draw worse", "the longest here has 29"), told[1:], strict=True):
        assert words in note
    plan = storymem(*small, "--dry-run")
    assert all(f"note: {note}" in plan for note in told)
    made = events(storymem(*small, "--json"))
    assert [event["message"] for event in made[: len(told)] if event["event"] == "note"] == told


def test_a_duration_is_kept_at_another_rate(storymem: Storymem, tmp_path: Path) -> None:
    """The film's own rate counts, from an option as from the script, and the film goes on with it."""
    script, film = tmp_path / "story.yaml", tmp_path / "film"
    shots = "shots: [The cat waves., {prompt: The cat waves., duration: 0.5}, {prompt: The cat waves., num_frames: 5}]"
    script.write_text(f"title: T\ndefaults: {{duration: 1}}\n{shots}\n", encoding="utf-8")

    def frames(*options: str) -> list[int]:
        told = storymem("generate", script, "-o", film, "--model", "tiny-random", "--dry-run", "--json", *options)
        return [shot["num_frames"] for shot in json.loads(told.splitlines()[-1])["shots"]]

    assert frames() == [17, 9, 5]
    assert frames("--fps", "24") == [25, 13, 5]
    assert frames("--fps", "24", "--frames", "33") == [33, 13, 5]
    long = tmp_path / "long.yaml"
    long.write_text("title: T\nshots: [{prompt: The cat waves., duration: 100}]\n", encoding="utf-8")
    told = storymem("generate", long, "-o", tmp_path / "l", "--model", "tiny-random", "--fps", "120", code=2)
    assert "Shot 01-01 has 12001 frames at 120 per second; a shot has at most 9997: make it shorter" in told
    made = ("generate", script, "-o", film, "--model", "tiny-random", "--size", "32x32", "--steps", "1", "--no-export")
    storymem(*made, "--fps", "8")
    shots_made = json.loads(storymem("status", film, "--json"))["shots"]
    assert [(shot["num_frames"], shot["status"]) for shot in shots_made] == [(9, "done"), (5, "done"), (5, "done")]
    assert storymem("generate", script, "-o", film, "--no-export").count("is there already") == 3


def test_other_settings_need_consent(storymem: Storymem, script: Path, options: list[str], tmp_path: Path) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--no-export")
    refused = storymem("generate", script, "-o", film, "--steps", "1", code=2)
    assert "num_inference_steps 2 (asked for: 1)" in refused
    remade = storymem("generate", script, "-o", film, "--steps", "1", "--remake", "--no-export")
    assert remade.count("made in") == 3


def test_pins_and_bans_change_what_shots_see(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--no-export")
    keyframes = json.loads(storymem("memory", "list", film, "--json"))["keyframes"]
    assert keyframes[0]["label"] == "shot 01-01, frame 0"
    assert "02-01" in keyframes[0]["seen_by"]
    assert "02-01" in storymem("memory", "ban", film, keyframes[0]["id"][:10])
    shots = json.loads(storymem("status", film, "--json"))["shots"]
    assert shots[2]["status"] == "stale"
    assert keyframes[0]["id"] not in [seen["id"] for seen in shots[2]["memory"]]
    preview = ("generate", script, "-o", film, *options, "--dry-run")
    assert json.loads(storymem(*preview, "--json"))["estimated_seconds_to_make"] == 0
    assert json.loads(storymem(*preview, "--remake", "--json"))["estimated_seconds_to_make"] > 0
    assert "to make the rest" in storymem(*preview, "--remake")
    storymem("memory", "free", film, keyframes[0]["id"])
    assert json.loads(storymem("status", film, "--json"))["counts"]["done"] == 3
    assert "no keyframe" in storymem("memory", "pin", film, "nonsense", code=2)


def test_titles_of_scenes_stand_over_their_shots(storymem: Storymem, tmp_path: Path) -> None:
    script = tmp_path / "story.yaml"
    scenes = "[{title: Evening, shots: [The cat waves., The cat sits.]}, {shots: [The cat sleeps.]}]"
    script.write_text(f"title: T\nscenes: {scenes}\n", encoding="utf-8")
    preview = ("generate", script, "-o", tmp_path / "film", "--model", "tiny-random", "--dry-run")
    shown = storymem(*preview)
    assert "\n\nScene 1: Evening\n\n01-01 " in shown
    assert shown.count("Scene ") == 1
    told = json.loads(storymem(*preview, "--json").splitlines()[-1])
    assert [shot["scene_title"] for shot in told["shots"]] == ["Evening", "Evening", ""]


def test_the_takes_of_a_shot_can_be_told_apart(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--no-export")
    storymem("retake", film, "02-01", "--prompt", "Rudi blows out the lantern.", "--no-export")
    old, new = json.loads(storymem("status", film, "--json"))["shots"][2]["takes"]
    assert (old["prompt"], new["prompt"]) == ("Close-up of Rudi holding a lantern.", "Rudi blows out the lantern.")
    assert old["made_at"] <= new["made_at"]
    shown = storymem("status", film)
    made = r"made \d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    for take, rest in ((old, f"{made}  kept\n +of Close-up of Rudi"), (new, f"{made}  in the film\n")):
        assert re.search(rf"take {take['key'][:16]}  seed {take['seed']}  {rest}", shown)
    next((film / "takes" / "02-01").glob(f"{old['key'][:16]}/take.json")).write_text("{", encoding="utf-8")
    assert re.search(rf"take {old['key'][:16]}  seed {old['seed']}  kept", storymem("status", film))


def test_a_pin_can_be_taken_back_when_its_keyframe_has_left_the_film(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--no-export")
    first = json.loads(storymem("memory", "list", film, "--json"))["keyframes"][0]["id"]
    storymem("memory", "pin", film, first)
    storymem("retake", film, "01-01", "--no-export")
    assert first not in [row["id"] for row in json.loads(storymem("memory", "list", film, "--json"))["keyframes"]]
    assert "1 keyframe freed" in storymem("memory", "free", film, first)
    assert "no keyframe" in storymem("memory", "pin", film, "", code=2)


def test_names_with_brackets_are_no_markup(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    write_png(tmp_path / "rudi [front].png", np.full((48, 64, 3), 200, np.uint8))
    old = "  Rudi: a small red fox with a green scarf\n"
    new = "  'Rudi [/b]':\n    description: a fox\n    references: ['rudi [front].png']\n"
    script.write_text(script.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    storymem("generate", script, "-o", tmp_path / "film", *options, "--no-export")
    assert "Rudi [/b] (rudi [front].png)" in storymem("memory", "list", tmp_path / "film")


def interrupted(script: Path, film: Path, options: list[str], how: signal.Signals, after: str) -> str:
    command = [sys.executable, "-m", "storymem", "generate", str(script), "-o", str(film), *options, "--json"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        # A shell's background jobs ignore Ctrl-C and hand that on: here it counts, however the tests were started.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - the child is one thread
    )
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if json.loads(line)["event"] == after:
            process.send_signal(how)
            break
    rest, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors, errors
    assert process.returncode == (130 if how == signal.SIGINT else -how), errors
    return "".join(seen) + rest


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_and_gone_on_with_it_is_the_same_film(
    storymem: Storymem, how: signal.Signals, script: Path, options: list[str], tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    storymem("generate", script, "-o", whole, *options)
    output = interrupted(script, cut, options, how, after="shot_finished")
    if how == signal.SIGINT:
        assert "run the same command again to go on" in events(output)[-1]["message"]
    time.sleep(0.1)
    assert not (cut / "film.mp4").exists()
    storymem("generate", script, "-o", cut, *options)
    for name in ("film.mp4", "contact_sheet.png", "film.json"):
        assert (whole / name).read_bytes() == (cut / name).read_bytes(), name
    takes = sorted(
        path.relative_to(whole) for path in (whole / "takes").rglob("*") if path.suffix in (".mkv", ".safetensors")
    )
    assert len(takes) == 6
    for take in takes:
        assert (whole / take).read_bytes() == (cut / take).read_bytes(), take


def test_the_second_process_says_so(storymem: Storymem, script: Path, options: list[str], tmp_path: Path) -> None:
    film = tmp_path / "film"
    command = [sys.executable, "-m", "storymem", "generate", str(script), "-o", str(film), *options, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    assert process.stdout is not None
    process.stdout.readline()
    refused = storymem("generate", script, "-o", film, *options, code=2)
    assert str(process.pid) in refused
    assert "3 shots" in storymem("status", film)  # looking is allowed
    assert process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--size", "48by32"], "832x480"),
        (["--size", "50x32"], "multiple of 16"),
        (["--frames", "6"], "4k + 1"),
        (["--model", "no-such-model"], "storymem models list"),
        (["--model", "wan2.2-i2v-a14b"], "storymem models download"),
        (["--lora", "nowhere"], "nowhere"),
        (["--device", "toaster"], "try cpu"),
        (["--offload", "model", "--device", "cpu", "--no-export"], "leave it out"),
        (["--encoder", "eyes"], "builtin"),
        (["--memory-size", "-1"], "0 (no memory) or more"),
        (["--guidance", "inf"], "a number of at least 1"),
        (["--steps", "1001"], "num_inference_steps is 1001; it must be between 1 and 1000"),
        (["--shift", "inf"], "a number above 0"),
        (["--quality", "nan"], "quality_threshold is nan"),
        (["--seed", "-1"], "between 0 and"),
        (["--seed", str(2**63)], "between 0 and"),
        (["--lora", "somewhere@nan"], "is not a weight"),
        (["--first-shot-model", "clip-vit-b32"], "t2v"),
    ],
)
def test_wrong_options_are_one_sentence(
    storymem: Storymem, arguments: list[str], words: str, script: Path, options: list[str], tmp_path: Path
) -> None:
    output = storymem("generate", script, "-o", tmp_path / "film", *options, *arguments, code=2)
    assert words in output


def test_wrong_scripts_and_folders_are_one_sentence(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    assert (
        "no such file"
        in storymem("generate", tmp_path / "none.yaml", "-o", tmp_path / "film", *options, code=2).lower()
    )
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    assert "thesis.txt" in storymem("generate", script, "-o", tmp_path / "full", *options, code=2)
    assert "no film" in storymem("status", tmp_path / "full", code=2)
    assert "no film" in storymem("export", tmp_path / "nowhere", code=2)


def test_errors_are_events_too(storymem: Storymem, script: Path, tmp_path: Path) -> None:
    output = storymem("generate", script, "-o", tmp_path / "film", "--frames", "6", "--json", code=2)
    assert events(output)[-1] == {"event": "error", "exit_code": 2, "message": events(output)[-1]["message"]}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "fox.yaml", "-o", "film", "--solver", "guess"], "guess"),
        (["status"], "folder"),
        (["models", "list", "--wrong"], "--wrong"),
        (["no-such-command"], "no-such-command"),
    ],
)
def test_mistakes_in_the_options_are_events_too(storymem: Storymem, arguments: list[str], words: str) -> None:
    (told,) = events(storymem(*arguments, "--json", code=2))
    assert told["event"] == "error"
    assert words in told["message"]


@pytest.mark.parametrize("command", [["models", "list"], ["models", "show", "tiny-random"], ["doctor"]])
def test_json_is_one_line(storymem: Storymem, command: list[str]) -> None:
    assert json.loads(storymem(*command, "--json").rstrip("\n").split("\n")[0])


def test_a_film_whose_shots_are_too_short_is_refused_before_it_is_begun(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--no-export")
    before = (film / "film.json").read_bytes()
    output = storymem("generate", script, "-o", film, "--frames", "1", "--remake", code=2)
    assert "make it longer" in output
    assert (film / "film.json").read_bytes() == before
    storymem("status", film)


def test_retakes_and_exports_refuse_what_cannot_be(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--no-export")
    assert "between 0 and" in storymem("retake", film, "01-01", "--seed", "-3", code=2)
    assert "must say what is to be seen" in storymem("retake", film, "01-01", "--prompt", " ", code=2)
    assert "is a file" in storymem("export", film, "--to", script, code=2)
    assert "nothing to free" in storymem("memory", "free", film, "shot 01-01, frame 0", code=2)


def test_help_comes_at_once(storymem: Storymem) -> None:
    """Half a second is what people take for at once; the import time is what can be tested on a busy machine."""
    heavy = ["torch", "diffusers", "transformers", "av", "PIL", "pydantic"]
    code = f"import sys, storymem.cli.app; print([name for name in {heavy} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert "generate" in storymem("--help")


def test_a_damaged_take_is_not_told_of_as_missing(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--no-export")
    (master,) = (film / "takes" / "01-02").glob("*/master.mkv")
    os.truncate(master, 100)
    assert "shot 01-02 is missing or damaged" in storymem("export", film, code=2)


def test_labels_of_keyframes_can_be_copied_from_a_narrow_terminal(
    storymem: Storymem, script: Path, options: list[str], tmp_path: Path
) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--no-export")
    completed = subprocess.run(
        [sys.executable, "-m", "storymem", "memory", "list", str(film)],
        env={**environment(), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "shot 01-01, frame 0" in completed.stdout


def test_weights_that_lie_elsewhere_now_are_still_the_films_own(
    storymem: Storymem, script: Path, checkpoint: Path, tmp_path: Path
) -> None:
    film, here, there = tmp_path / "film", tmp_path / "here", tmp_path / "there"
    shutil.copytree(checkpoint, here)
    options = ["--size", "48x32", "--frames", "5", "--steps", "1", "--memory-size", "4", "--batch-cfg"]
    storymem("generate", script, "-o", film, "--model", here, *options, "--no-export")
    here.rename(there)
    assert storymem("generate", script, "-o", film, "--model", there, "--no-export").count("is there already") == 3
    assert storymem("generate", script, "-o", film, "--no-export").count("is there already") == 3
    sampling = json.loads((film / "film.json").read_bytes())["settings"]["sampling"]
    assert not sampling["batch_cfg"]  # is of the machine, and said anew each time


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full")
def test_events_that_go_to_a_full_disk_are_no_traceback(script: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "storymem", "generate", str(script), "-o", str(tmp_path / "f"), "--json"]
    with Path("/dev/full").open("w") as full:
        left = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment(), check=False)
    assert left.returncode == 1
    assert "Traceback" not in left.stderr
    assert "No space left" in left.stderr


def test_another_lora_keeps_the_films_size(
    storymem: Storymem, script: Path, options: list[str], checkpoint: Path, tmp_path: Path
) -> None:
    film = tmp_path / "film"
    storymem("generate", script, "-o", film, *options, "--no-export")
    lora = checkpoint / "StoryMem" / "Wan2.2-MI2V-A14B"
    again = ["--lora", f"{lora}@0.5", "--steps", "1", "--remake", "--no-export"]
    assert storymem("generate", script, "-o", film, *again).count("made in") == 3
    settings = json.loads(storymem("status", film, "--json"))["settings"]
    assert (settings["width"], settings["height"], settings["num_frames"], settings["seed"]) == (48, 32, 5, 3)
