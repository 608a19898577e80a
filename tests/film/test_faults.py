"""A kill, a full disk and a failing disk, at every single system call that changes something in a film's folder.

`fault_shim.c` sits under Python and all libraries and makes the n-th call fail; `fault_server.py` plays a film with
that fault and then again without it. The fast tests take a sample of the points, the slow ones all of them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
POINTS_IN_SAMPLE = 7

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None, reason="the fault shim needs Linux and gcc"
)


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("shim") / "fault_shim.so"
    source = HERE / "fault_shim.c"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source, "-ldl"], check=True)
    return library


def play(shim: Path, folder: Path, scenario: str, kind: str, first: int = 1, stride: int = 1) -> list[dict[str, Any]]:
    """The lines that the server prints: what there is to fail, then one per point."""
    command = [sys.executable, HERE / "fault_server.py", shim, folder, scenario, kind, str(first), str(stride)]
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **threads, "LD_PRELOAD": str(shim)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def judge(kind: str, lines: list[dict[str, Any]]) -> None:
    for line in lines:
        if kind == "kill":
            assert line["code"] == -9, line
        elif kind in ("no space", "io"):
            # 0: it was a file without which a film is whole, such as the name of the lock's holder.
            assert line["code"] in (0, 1), line
            reason = "No space left on device" if kind == "no space" else "Input/output error"
            assert line["code"] == 0 or f"could not be written ({reason})" in line["said"], line
        else:
            # What cannot be read is made again (0), or the run ends with a message, never with a traceback.
            assert line["code"] in (0, 1, 2), line
        assert line["again"] == 0, line
        assert line["different"] == [], f"the film is not that of an uninterrupted run: {line}"
        assert line["remade"] == [], f"a finished take was made again: {line}"


KINDS = ["kill", "no space", "io", "read io"]
SCENARIOS = ["generate", "retake", "mend"]
# How many calls each has at least: if there are suddenly fewer, the shim misses some.
CALLS = {"generate": 150, "retake": 120, "mend": 50}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_some_points(shim: Path, tmp_path: Path, scenario: str, kind: str) -> None:
    # Another first point for every kind, so that together the kinds try more places.
    stride = CALLS[scenario] // POINTS_IN_SAMPLE
    header, *lines = play(shim, tmp_path, scenario, kind, 1 + 3 * KINDS.index(kind), stride)
    assert header["points"] >= CALLS[scenario] or kind == "read io"
    assert len(lines) >= POINTS_IN_SAMPLE - 2
    judge(kind, lines)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_point(shim: Path, tmp_path: Path, scenario: str, kind: str) -> None:
    header, *lines = play(shim, tmp_path, scenario, kind)
    assert len(lines) == header["points"]
    judge(kind, lines)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_everything_is_on_the_disk_before_its_name_is(shim: Path, tmp_path: Path, scenario: str) -> None:
    """What a power cut would show: a name must not reach the disk before the content, nor film.json before a take."""
    _, trace = play(shim, tmp_path, scenario, "count")
    content_waiting: set[str] = set()  # files whose content may not be on the disk
    names_waiting: set[str] = set()  # folders whose names may not be on the disk
    renamed = 0
    for call in trace["calls"]:
        name, _, rest = call.partition(" ")
        path, _, target = rest.partition(" -> ")
        if any(part.startswith(".lock") for part in Path(path).parts):
            continue  # worth nothing after a power cut
        if name.startswith("rename"):
            renamed += 1
            unsafe = [p for p in content_waiting | names_waiting if p == path or p.startswith(f"{path}/")]
            assert not unsafe, f"{call}: {unsafe} may not be on the disk"
            if target.endswith("/film.json"):
                elsewhere = names_waiting - {str(Path(target).parent)}
                assert not elsewhere, f"film.json would name what may not be on the disk: {elsewhere}"
            names_waiting.add(str(Path(target).parent))
        elif name in ("fsync", "fdatasync"):
            content_waiting.discard(path)
            names_waiting.discard(path)
        elif "write" in name or name.startswith("ftruncate"):
            content_waiting.add(path)
        elif name.startswith(("open", "fopen", "mkdir")):
            names_waiting.add(str(Path(path).parent))
            if not name.startswith("mkdir"):
                content_waiting.add(path)
    assert renamed >= 3
    left = {path for path in content_waiting | names_waiting if Path(path).exists()}
    assert not left, f"never waited for: {left}"
