"""`storymem bench` from end to end, with the tiny model and without any."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from storymem.bench.make import FilmJob
from storymem.cli.app import app
from storymem.cli.bench import ModelSettings
from storymem.errors import StoryMemError
from storymem.film.resolve import ModelRequest, resolve_model
from storymem.story import parse_story

runner = CliRunner()


def bench(*arguments: object) -> str:
    result = runner.invoke(app, ["bench", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_from_suite_to_report_without_a_model(tmp_path: Path) -> None:
    run = (
        "run",
        "storyland",
        "-o",
        tmp_path,
        "--systems",
        "real,frozen",
        "--stories",
        2,
        "--shots",
        3,
        "--size",
        "48x32",
    )
    assert "real/story-0000: written" in bench(*run)
    assert "written" not in bench(*run)  # it is all there
    assert "diversity" in bench("score", tmp_path, "--reader", "none")
    output = bench("compare", tmp_path, "--baseline", "real")
    assert "Controls are no systems" in output  # no word of systems that differ or not: there are none
    assert (tmp_path / "report" / "report.html").is_file()
    assert json.loads((tmp_path / "report" / "comparison.json").read_text())["suite"]["suite"] == "storyland"


def test_the_settings_of_a_film_can_be_sent_to_another_process() -> None:
    settings = ModelSettings(resolve_model(ModelRequest("storyland")), {}, 0)
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.slow
def test_the_tiny_model_makes_films_of_two_systems_in_two_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "storymem", "bench", "run", "storyland", "-o", str(tmp_path), "--systems",
               "no-memory,memory", "--stories", "1", "--shots", "2", "--size", "32x32", "--frames", "5",
               "--steps", "1", "--processes", "2"]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    scores = bench("score", tmp_path, "--reader", "none", "--processes", 2)
    assert "memory/story-0000" in scores
    films = json.loads((tmp_path / "scores.json").read_text())["systems"]
    assert set(films) == {"no-memory", "memory"}


def test_a_system_is_not_added_with_another_model_or_other_sampling(
    tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(jobs: Sequence[FilmJob], *, processes: int) -> Iterator[tuple[FilmJob, float]]:
        for job in jobs:
            place = job.folder / job.system.name / job.story.name
            place.mkdir(parents=True)
            (place / "film.json").touch()
            yield job, 0.0

    monkeypatch.setattr("storymem.bench.make.make_films", begin)
    size = ("run", "storyland", "-o", tmp_path, "--stories", 1, "--shots", 2, "--size", "48x32", "--frames", 5)
    bench(*size, "--systems", "no-memory", "--steps", 30)
    with pytest.raises(StoryMemError, match="made with another num_inference_steps"):
        bench(*size, "--systems", "memory", "--steps", 2)
    with pytest.raises(StoryMemError, match="made with another model"):
        bench(*size, "--systems", "memory", "--steps", 30, "--model", checkpoint)
    bench(*size, "--systems", "memory", "--steps", 30)
    assert json.loads((tmp_path / "suite.json").read_text())["made_with"]["about"] == {"model": "storyland"}


def test_films_left_out_end_with_an_error_after_the_others_are_scored(tmp_path: Path) -> None:
    bench("run", "storyland", "-o", tmp_path, "--systems", "real", "--stories", 2, "--shots", 2, "--size", "48x32")
    (tmp_path / "real" / "story-0001" / "02.mkv").unlink()
    with pytest.raises(StoryMemError, match="1 of 2 films could not be scored and were left out") as error:
        bench("score", tmp_path, "--reader", "none")
    assert error.value.exit_code == 2
    assert set(json.loads((tmp_path / "scores.json").read_text())["systems"]["real"]) == {"story-0000"}


def test_footage_has_nothing_to_film(tmp_path: Path) -> None:
    from storymem.media import write_video

    source = tmp_path / "clips" / "a film"
    source.mkdir(parents=True)
    import numpy as np

    for number in (1, 2, 3):
        frames = np.random.default_rng(number).integers(0, 256, (6, 32, 48, 3), dtype=np.uint8)
        write_video(source / f"{number}.mp4", iter(frames), 16)
    out = tmp_path / "out"
    with pytest.raises(StoryMemError, match="has no scripts to film"):
        bench("run", "footage", "-o", out, "--source", tmp_path / "clips", "--systems", "memory", "--frames", 5)
    out = tmp_path / "other"
    assert "real/a-film" in bench("run", "footage", "-o", out, "--source", tmp_path / "clips", "--systems", "real")


def test_mistakes_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoryMemError, match="'magic' is no system"):
        bench("run", "storyland", "-o", tmp_path, "--systems", "magic")
    with pytest.raises(StoryMemError, match="there are footage, st-bench, storyland"):
        bench("run", "magic", "-o", tmp_path, "--systems", "real")
    with pytest.raises(StoryMemError, match="no such folder"):
        bench("score", tmp_path / "nowhere")
    with pytest.raises(StoryMemError, match="--reader magic"):
        bench("score", tmp_path, "--reader", "magic")
    with pytest.raises(StoryMemError, match="bench score"):
        bench("compare", tmp_path)


def test_systems_have_the_methods_memory_whatever_the_model_suggests() -> None:
    """So a folder that older versions began is gone on with, and `memory` is what it says."""
    resolved = resolve_model(ModelRequest(model="storyland"))
    assert resolved.portraits
    told = parse_story("title: T\ncast: {Pip: a small fox}\nshots: [Pip runs., Pip waves.]", "t.yaml", None)
    settings = ModelSettings(resolved, {}, 3)(told)
    assert (settings.portraits, settings.memory.recall, settings.seed) == (False, "all", 3)
    assert settings.sampling.num_inference_steps == 12
