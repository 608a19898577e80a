"""Runs a film again and again, each time with another of its system calls failing; see `fault_shim.c`.

    LD_PRELOAD=shim.so python fault_server.py SHIM FOLDER SCENARIO KIND FIRST STRIDE

For every STRIDE-th point from FIRST on, in a process of its own: play the scenario with the fault, then play it again
without. Prints one JSON line per point. With the kind "count" it plays once and prints every call. Everything is
imported before the first fork, so that a point takes milliseconds. Not a test itself: `test_faults.py` starts it and
judges the lines.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filming import flip
from procedural import THREE_SHOTS, ProceduralMaker, story, tiny_settings, tools

from storymem.errors import FilmError, StorageError, StoryMemError
from storymem.film.director import Director
from storymem.film.project import Film
from storymem.film.tools import Tools

KINDS = {"count": 0, "kill": 1, "no space": 2, "io": 3, "read io": 4}
SCRIPT = THREE_SHOTS.replace("  Mara: a girl with a red coat", "  Mara: {description: a girl, references: [mara.png]}")


def make_film(folder: Path, maker: Tools, *, remake: bool = False) -> None:
    """The command `generate`."""
    told = story(SCRIPT, folder.parents[1])
    begun = Film.begin(folder, story=told, script=SCRIPT.encode(), settings=tiny_settings(), tools=maker)
    with begun as film:
        for _ in Director(film, maker).generate(remake_stale=remake):
            pass


def retake_and_remake(folder: Path, maker: Tools) -> None:
    """The commands `retake 01-01 --seed 99` and `generate --remake`, on a finished film."""
    with Film.work(folder) as film:
        for _ in Director(film, maker).retake("01-01", seed=99, prompt="Mara lights two lanterns."):
            pass
    make_film(folder, maker, remake=True)


def finished(folder: Path) -> None:
    """Before `retake`: a finished film."""
    shutil.copytree(folder.parents[1] / "finished", folder)


def damaged(folder: Path) -> None:
    """Before `mend`: a finished film of which a take and the references have one wrong bit each."""
    finished(folder)
    for path in (next(folder.glob("takes/01-02/*/master.mkv")), next(folder.glob("references/*/*.safetensors"))):
        flip(path)


def nothing(folder: Path) -> None:
    """Before `generate`: no folder."""


SCENARIOS: dict[str, tuple[Callable[[Path], None], Callable[[Path, Tools], None]]] = {
    "generate": (nothing, make_film),
    "retake": (finished, retake_and_remake),
    "mend": (damaged, make_film),
}


def content(folder: Path) -> dict[str, str]:
    """SHA-256 of every file, but for what differs between two uninterrupted runs: when and how fast takes were made."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        # A take that could not be read is kept aside, for people; the lock file has no content.
        if not path.is_file() or ".damaged-" in name or name == ".lock":
            continue
        data = path.read_bytes()
        if path.name == "take.json":
            record = json.loads(data)
            del record["made"], record["sha256"]
            data = json.dumps(record).encode()
        found[name] = hashlib.sha256(data).hexdigest()
    return found


def without(folder: Path, lost: set[str]) -> dict[str, Any]:
    """What film.json says, but for takes whose folders have these names."""
    manifest: dict[str, Any] = json.loads((folder / "film.json").read_bytes())
    del manifest["sha256"]
    kept = manifest["kept"].items()
    manifest["kept"] = {shot: [take for take in takes if take["key"][:16] not in lost] for shot, takes in kept}
    return manifest


def takes(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every finished take's record."""
    found = {}
    for path in folder.glob("takes/*/[0-9a-f]*/take.json"):
        stat = path.stat()
        found[path.relative_to(folder).as_posix()] = (stat.st_ino, stat.st_mtime_ns)
    return found


def say(fact: object) -> None:
    """One line for the test."""
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


def in_child(work: Callable[[], int | None]) -> tuple[int, str]:
    """Run `work` in a fork; its exit code (negative: the signal that ended it) and what it wrote of an error."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 70
        try:
            code = work() or 0
        except StoryMemError as error:
            # A fault is a StorageError; a film.json that cannot be read is a FilmError. Neither is a traceback.
            code = 1 if isinstance(error, StorageError) else 2 if isinstance(error, FilmError) else 3
            os.write(writer, str(error).encode())
        except BaseException:  # noqa: BLE001 - the child must end here whatever happens, and say why
            os.write(writer, traceback.format_exc().encode())
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as file:
        said = file.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said


def main(shim: str, base: str, scenario: str, kind: str, first: int, stride: int) -> None:
    library: Any = ctypes.CDLL(shim)
    library.fault_arm.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int, ctypes.c_int]
    library.fault_count.restype = ctypes.c_long
    root = Path(base)
    prepare, play = SCENARIOS[scenario]

    picture = ProceduralMaker("reference").make(Still(), lambda done, steps: None)[0]
    from storymem.media import write_png

    write_png(root / "mara.png", picture)
    (root / "work").mkdir()
    warm = root / "work" / "warm"
    make_film(warm, tools())  # imports all there is to import, and is the finished film of the other scenarios
    warm.rename(root / "finished")

    def counted() -> int:
        with (root / "calls").open("w") as calls:
            kind_of_calls = KINDS["read io" if kind == "read io" else "count"]
            # The calls themselves are looked at with those of the folder above, whose names must be waited for.
            place = reference.parent if kind == "count" else reference
            library.fault_arm(str(place).encode(), 0, kind_of_calls, calls.fileno())
            play(reference, tools())
        return 0

    reference = root / "work" / "reference"
    prepare(reference)
    code, said = in_child(counted)
    assert code == 0, said
    calls = (root / "calls").read_text().splitlines()
    points = len(calls)
    wanted = content(reference)
    say({"points": points, "files": sorted(wanted)})
    if kind == "count":
        say({"calls": calls})
        return

    folder = root / "work" / "film"
    for at in range(first, points + 1, stride):
        prepare(folder)

        def faulty(at: int = at) -> None:
            library.fault_arm(str(folder).encode(), at, KINDS[kind], -1)
            play(folder, tools())

        def sound() -> None:
            library.fault_arm(str(folder).encode(), 0, KINDS["count"], -1)
            play(folder, tools())

        code, said = in_child(faulty)
        before = takes(folder)
        again, said_again = in_child(sound)
        # Neither the take that the scenario broke nor one that could not be read was finished.
        aside = sorted(path.name for path in folder.rglob(".damaged-*"))
        lost = {name.split("-")[1] for name in aside}
        whole = {name: place for name, place in before.items() if name.split("/")[-2] not in lost}
        after, found = takes(folder), content(folder)
        different = {name for name in {*wanted, *found} if wanted.get(name) != found.get(name)}
        if kind == "read io":
            # A take that is kept beside a newer one and could not be read is gone, and no longer in the list of takes.
            different -= {name for name in different if name not in found and lost & set(name.split("/"))}
            if without(reference, lost) == without(folder, lost):
                different.discard("film.json")
        line = {
            "at": at,
            "code": code,
            "said": said,
            "again": again,
            "said_again": said_again,
            "remade": sorted(name for name in whole if after.get(name) != whole[name]),
            "different": sorted(different),
        }
        say(line)
        shutil.rmtree(folder)


class Still:
    """A request for the reference picture."""

    prompt, negative_prompt, seed, memory, known_frames = "Mara", "", 1, (), ()
    sampling = tiny_settings().sampling


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5]), int(sys.argv[6]))
