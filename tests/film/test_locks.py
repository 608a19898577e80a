from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filming import Studio, of

from storymem.errors import FilmError, FilmLockedError
from storymem.film.events import ShotReused
from storymem.film.lock import locked
from storymem.film.plan import plan_film
from storymem.film.project import Film

HOLD = """
import sys, time
from pathlib import Path
from storymem.film.project import Film
with Film.work(Path(sys.argv[1])):
    print("working", flush=True)
    time.sleep(60)
"""


@contextmanager
def another_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """It works in the folder until it is ended."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_the_second_process_says_so(finished: Studio) -> None:
    with another_process(finished.folder) as process:
        says = f"process {process.pid} on {platform.node()} is working in this folder: wait until it has ended"
        with pytest.raises(FilmLockedError, match=says):
            finished.generate()
        with pytest.raises(FilmLockedError, match=says), Film.work(finished.folder):
            pass
        # Looking needs no lock.
        assert [planned.status for planned in plan_film(Film.open(finished.folder), verify=True)] == ["done"] * 3


def test_a_killed_process_holds_nothing(finished: Studio) -> None:
    with another_process(finished.folder) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert (finished.folder / ".lock-holder.json").exists()  # left behind, and of no importance
    assert len(of(finished.generate(), ShotReused)) == 3
    assert not (finished.folder / ".lock-holder.json").exists()


def test_two_in_one_process(finished: Studio) -> None:
    with finished.begin(), pytest.raises(FilmLockedError, match=f"process {os.getpid()}"), finished.begin():
        pass
    with finished.begin():
        pass


@pytest.mark.parametrize("holder", ["", "{", "[]", json.dumps({"pid": "x"}), json.dumps({"pid": 1})])
def test_a_holder_that_cannot_be_read_is_just_another_process(tmp_path: Path, holder: str) -> None:
    with locked(tmp_path):
        (tmp_path / ".lock-holder.json").write_text(holder)
        with pytest.raises(FilmLockedError, match="another process is working"), locked(tmp_path):
            pass


def test_the_lock_is_free_after_an_error(studio: Studio) -> None:
    with pytest.raises(ZeroDivisionError), studio.begin():
        raise ZeroDivisionError
    with studio.begin():
        pass


def test_no_lock_is_left_where_there_is_no_film(tmp_path: Path) -> None:
    with pytest.raises(FilmError, match="there is no film"), Film.work(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(finished: Studio) -> None:
    (finished.folder / ".lock").unlink(missing_ok=True)
    finished.folder.chmod(0o500)
    try:
        with pytest.raises(FilmError, match="files cannot be written there"):
            finished.generate()
    finally:
        finished.folder.chmod(0o700)


def test_a_film_is_changed_only_inside_its_block(finished: Studio) -> None:
    with Film.work(finished.folder) as film:
        pass
    with pytest.raises(AssertionError, match="only inside"):
        film.save(film.manifest)
    with pytest.raises(AssertionError, match="only inside"):
        finished.film().pin(["0" * 64])
