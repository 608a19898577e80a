"""The benchmark that says at which noise level heroes are lost."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from storymem.models.catalog import entry
from storymem.models.checkpoints import load_components
from storymem.models.store import locate
from storymem.training.output import save_model

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks" / "storyland_levels.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def silenced(transformer: Any) -> Any:
    """A copy that says nothing: its velocity is 0."""
    silent = deepcopy(transformer)
    for parameter in silent.proj_out.parameters():
        torch.nn.init.zeros_(parameter)
    return silent


def save(folder: Path, parts: Any, high: Any, low: Any, boundary: float | None) -> None:
    """The model with these transformers."""
    sampling = dict(entry("storyland").sampling)
    save_model(folder, transformer=high, transformer_2=low, vae=parts.vae, text_encoder=parts.text_encoder,
               tokenizer=parts.tokenizer, boundary_ratio=boundary, sampling=sampling)  # fmt: skip


def test_a_little_noise_costs_nothing_and_all_of_it_much_where_nothing_is_said(tmp_path: Path) -> None:
    parts: Any = load_components(locate("storyland"), dtype=torch.float32)
    save(tmp_path / "silent", parts, silenced(parts.transformer), silenced(parts.transformer_2), parts.boundary_ratio)
    asked = ("--clips", "6", "--memory", "2", "--levels", "0.05", "1", "--steps", "4")
    out = tmp_path / "silent.json"
    assert run("--model", str(tmp_path / "silent"), *asked, "--json", str(out)).returncode == 0
    silent = json.loads(out.read_text(encoding="utf-8"))["levels"]
    out = tmp_path / "levels.json"
    done = run(*asked, "--json", str(out))
    assert done.returncode == 0, done.stderr
    levels = json.loads(out.read_text(encoding="utf-8"))["levels"]
    assert list(levels) == ["0", "0.05", "1"]
    assert silent["0"] == levels["0"]
    assert silent["1"]["right"] < 0.2
    assert levels["0"]["right"] > 0.6  # of what the VAE keeps, read
    assert abs(levels["0.05"]["right"] - levels["0"]["right"]) < 0.12
    assert levels["1"]["right"] > silent["1"]["right"] + 0.3
    assert "error" not in levels["0"]
    assert levels["1"]["error"] > 0
    assert done.stdout.count("looks right") == 3


def test_each_of_two_experts_is_asked_at_its_own_levels(tmp_path: Path) -> None:
    parts: Any = load_components(locate("storyland"), dtype=torch.float32)
    errors = {}
    for name, low in (("one", None), ("two", silenced(parts.transformer))):
        save(tmp_path / name, parts, parts.transformer, low, None if low is None else 0.7)
        out = tmp_path / f"{name}.json"
        settings = ("--clips", "2", "--memory", "1", "--levels", "0.6", "0.7", "--steps", "2", "--json", str(out))
        done = run("--model", str(tmp_path / name), *settings)
        assert done.returncode == 0, done.stderr
        errors[name] = {
            level: row["error"] for level, row in json.loads(out.read_text())["levels"].items() if level != "0"
        }
    assert errors["two"]["0.7"] == errors["one"]["0.7"]
    assert errors["two"]["0.6"] > 1.5 * errors["one"]["0.6"]


def test_a_mistake_is_told_in_a_sentence(tmp_path: Path) -> None:
    done = run("--model", str(tmp_path / "nothing"))
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "nothing" in done.stderr
    assert run("--levels", "1.5").returncode == 2
