from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from storymem.cli.show import showing
from storymem.film.events import FilmPlanned


@pytest.mark.parametrize(
    ("shots", "to_make", "line"),
    [
        ({"01": "missing", "02": "missing"}, ("01", "02"), "Owl: 2 shots, 2 to make"),
        ({"01": "done", "02": "missing"}, ("02",), "Owl: 2 shots, 1 to make, 1 there already"),
        ({"01": "done", "02": "stale", "03": "missing"}, ("03",), "Owl: 3 shots, 1 to make, 1 there already, 1 stale"),
        ({"01": "done", "02": "stale"}, ("02",), "Owl: 2 shots, 1 to make, 1 there already"),  # with --remake
        ({"02": "done"}, ("02",), "Owl: shot 02 to make"),  # a retake
        ({"01": "done"}, (), "Owl: 1 shot, 0 to make, 1 there already"),
        ({"portrait-owl": "done", "01": "missing"}, ("01",), "Owl: 1 shot and 1 portrait, 1 to make, 1 there already"),
        ({"01": "done", "02": "missing"}, (), "Owl: 2 shots, 0 to make, 1 there already, 1 left for later"),
        ({"portrait-owl": "missing"}, ("portrait-owl",), "Owl: shot portrait-owl to make"),
    ],
)
def test_the_first_line_counts_shots_by_what_they_are(
    shots: dict[str, str], to_make: tuple[str, ...], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = tuple(
        SimpleNamespace(shot=SimpleNamespace(id=name, portrait_of="Owl" * ("portrait" in name) or None), status=status)
        for name, status in shots.items()
    )
    with showing(as_json=False) as show:
        show(FilmPlanned("Owl", Path("owl"), planned, to_make, None))  # type: ignore[arg-type]
    assert capsys.readouterr().out == line + "\n"
