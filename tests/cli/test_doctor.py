from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from storymem.cli import doctor
from storymem.models.catalog import CATALOG


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    monkeypatch.setenv("STORYMEM_HOME", str(tmp_path))
    app = typer.Typer()
    app.callback()(lambda: None)
    doctor.register(app)
    return app


def test_doctor(app: typer.Typer) -> None:
    shown = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "160"})
    assert shown.exit_code == 0, shown.exception
    assert torch.__version__ in shown.stdout
    assert all(name in shown.stdout for name in CATALOG)
    assert "estimated" in shown.stdout


def test_doctor_for_machines(app: typer.Typer) -> None:
    report = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert [row["model"] for row in report["models"]] == list(CATALOG)
    assert report["machine"]["packages"]["torch"] == torch.__version__
    assert report["machine"]["ram"] > 0


def test_no_number_is_torn_from_its_unit_in_a_narrow_terminal(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storymem.models.doctor._devices", lambda: ())
    shown = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "80"}).stdout
    assert re.search(r"^wan2.2-i2v-a14b +no +11 GiB +\d+ GiB +126 GB +\w", shown, re.MULTILINE)
    assert "needs at least" not in shown
