"""The benchmark of Storyland, end to end: with the true drawings, and with a model of random weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from storymem.worlds.storyland.reader import load_reader

ROOT = Path(__file__).parents[1]
JUDGE = ROOT / "src" / "storymem" / "worlds" / "storyland" / "judge.safetensors"


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "storyland.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def measured(json_file: Path, *arguments: str) -> dict[str, Any]:
    done = benchmark("--json", str(json_file), *arguments)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(json_file.read_text(encoding="utf-8"))
    return report


def test_the_true_drawings_score_nearly_what_the_reader_can(tmp_path: Path) -> None:
    report = measured(tmp_path / "oracle.json", "--oracle", "--stories", "2", "--shots", "5", "--size", "112x64")
    found = report["systems"]["oracle"]["figures"]
    assert found["identity"]["share"] > 0.75
    assert found["identity"]["share"] > found["identity"]["chance"] + 0.4
    assert found["place"]["share"] > 0.85
    assert found["shot type"]["share"] > 0.85
    assert report["stories"] == 4
    assert report["reader"]["accuracy"]["species"] > 0.8


def test_another_reader_reads_as_it_can(tmp_path: Path) -> None:
    options = ("--oracle", "--stories", "1", "--shots", "2")
    named, given = (
        measured(tmp_path / f"{number}.json", *options, "--reader", reader)
        for number, reader in enumerate(("judge", str(JUDGE)))
    )
    assert named["reader"] == given["reader"]
    assert named["reader"]["accuracy"] == load_reader(JUDGE).accuracy != load_reader().accuracy
    assert named["systems"]["oracle"]["figures"] == given["systems"]["oracle"]["figures"]
    done = benchmark("--json", str(tmp_path / "x.json"), *options, "--reader", str(tmp_path / "nobody"))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "nobody" in done.stderr


def test_what_the_vae_of_the_model_loses_is_measured(tmp_path: Path) -> None:
    options = ("--stories", "1", "--shots", "2", "--no-timing", "--systems", "oracle", "decoded")
    ours, blind = (
        measured(tmp_path / f"{model}.json", "--model", model, *options)["systems"]
        for model in ("storyland", "tiny-random")  # whose VAE gives back noise
    )
    assert ours["decoded"]["figures"]["place"]["share"] == 1
    assert ours["decoded"]["figures"]["looks as told"]["share"] > 0.6
    assert blind["oracle"]["figures"]["place"]["share"] == 1
    assert blind["decoded"]["figures"]["place"]["share"] < 0.5


def test_a_mistake_is_told_in_a_sentence(tmp_path: Path) -> None:
    done = benchmark("--json", str(tmp_path / "x.json"), "--model", "no-such-model")
    assert done.returncode == 2
    assert "no-such-model" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_model_of_random_weights_is_measured_and_gone_on_with(tmp_path: Path) -> None:
    options = ["--model", "tiny-random", "--stories", "1", "--shots", "3", "--steps", "1", "--size", "112x64",
               "--frames", "5", "--folder", str(tmp_path / "films")]  # fmt: skip
    report = measured(tmp_path / "a.json", *options)
    systems = report["systems"]
    assert set(systems) == {"oracle", "decoded", "memory", "guided", "cast", "portraits", "cast-portraits", "none",
                            "first-frame", "no-sink", "stride-1", "size-1", "size-3", "size-3-recent"}  # fmt: skip
    for name, system in systems.items():
        assert (system["figures"]["place"]["n"], system["figures"]["place"]["stories"]) == (6, 2), name
    assert systems["memory"]["figures"]["identity"]["share"] < 0.5
    cold = report["cold_start"]
    assert cold["seconds"] > 0
    assert 0.1 < cold["peak_gb"] < 5
    aimed = {aim["what"] for aim in report["aims"]}
    assert aimed >= {"identity, system memory", "prompt, system guided", "seconds of the film"}
    takes = {path: path.stat().st_mtime_ns for path in (tmp_path / "films").rglob("master.mkv")}
    assert len(takes) == 12 * 2 * 3 + 2 * 3  # in two of the systems each of three heroes has a portrait
    again = measured(tmp_path / "b.json", *options, "--no-timing")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "films").rglob("master.mkv")} == takes
    assert again["systems"]["memory"]["figures"] == systems["memory"]["figures"]


@pytest.mark.slow
def test_the_systems_see_what_they_should(tmp_path: Path) -> None:
    measured(tmp_path / "a.json", "--model", "tiny-random", "--stories", "1", "--shots", "3", "--steps", "1",
             "--size", "112x64", "--frames", "5", "--folder", str(tmp_path), "--no-timing",
             "--systems", "none", "first-frame", "size-1", "guided", "portraits", "--memory-guidance", "4")  # fmt: skip
    films = tmp_path / "films"
    told = json.loads((films / "guided" / "heroes-1-seed-0-shots-3" / "film.json").read_text())
    assert told["settings"]["sampling"]["memory_guidance_scale"] == 4.0

    def seen(system: str) -> list[list[str]]:
        """By shot, portraits behind them, the keyframes in its memory."""
        takes = sorted((films / system / "heroes-1-seed-0-shots-3" / "takes").glob("*/*/take.json"))
        return [[entry["label"] for entry in json.loads(take.read_text())["saw"]] for take in takes]

    assert seen("none") == [[], [], []]
    (hero,) = json.loads((films / "portraits" / "heroes-1-seed-0-shots-3" / "film.json").read_text())["story"]["cast"]
    assert seen("portraits") == [[f"{hero['name']} (portrait)"]] * 3 + [[]]
    first_frames = seen("first-frame")
    assert [len(labels) for labels in first_frames] == [0, 1, 2]
    assert all(label.endswith("frame 0") for labels in first_frames for label in labels)
    assert [len(labels) for labels in seen("size-1")][1:] == [1, 1]
