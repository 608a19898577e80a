"""Scored folders put side by side: the table of all numbers, and what of it is real, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from storymem.bench.compare import Difference, Interval, compare_systems, shared_stories
from storymem.bench.films import STORIES, read_suite, script_in
from storymem.bench.metrics import VARIED_ENOUGH
from storymem.bench.naming import system_names
from storymem.bench.score import read_scores
from storymem.bench.systems import CONTROLS, SYSTEMS
from storymem.errors import FilmError, SettingsError
from storymem.story import load_story

__all__ = ["Comparison", "compare_folders", "findings", "uneven_stories", "without_findings"]


@dataclass(frozen=True)
class Comparison:
    """Several systems on the same stories.

    Attributes:
        folders: what was compared.
        suite: what the suite was, if it is known.
        instruments: what measured, see `Instruments.facts`.
        metrics: see `Metric`; those that any system has.
        baseline: what the others are compared with.
        systems: names, the baseline first, controls last.
        controls: those of `systems` that are controls, in whichever folder.
        films: by system and story, what ``scores.json`` has.
        rows: see `compare_systems`.
        shared: by metric, the stories over which its means are, see `shared_stories`; empty: each system's own.
        left_out: films that could not be scored.
    """

    folders: tuple[Path, ...]
    suite: Mapping[str, Any] | None
    instruments: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    baseline: str
    systems: tuple[str, ...]
    controls: frozenset[str]
    films: Mapping[str, Mapping[str, Mapping[str, Any]]]
    rows: Mapping[str, Mapping[str, Mapping[str, Any]]]
    shared: Mapping[str, frozenset[str]]
    left_out: tuple[Mapping[str, str], ...]

    def value(self, key: str, system: str) -> Interval | None:
        """A system's mean on a metric, over the stories that all systems have (see `compare_systems`)."""
        row = self.rows[key].get(system)
        return None if row is None else row["value"]

    def difference(self, key: str, system: str) -> Difference | None:
        """How a system differs from the baseline."""
        row = self.rows[key].get(system)
        return None if row is None else row["difference"]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        rows = {
            key: {
                system: {name: None if one is None else asdict(one) for name, one in row.items()}
                for system, row in systems.items()
            }
            for key, systems in self.rows.items()
        }
        return {
            "format": "storymem bench comparison",
            "version": 1,
            "folders": [str(folder) for folder in self.folders],
            "suite": self.suite,
            "instruments": self.instruments,
            "metrics": list(self.metrics),
            "baseline": self.baseline,
            "systems": list(self.systems),
            "controls": [name for name in self.systems if name in self.controls],
            "rows": rows,
            "stories": {key: sorted(stories) for key, stories in self.shared.items()},
            "uneven": uneven_stories(self),
            "findings": [text for _, text in findings(self)],
            "left_out": list(self.left_out),
        }


def compare_folders(folders: Sequence[Path], baseline: str | None = None) -> Comparison:
    """Put the systems of scored folders side by side.

    Args:
        folders: with ``scores.json``, measured with the same instruments. Stories of one name are the same story, and
            refused where their scripts or numbers of shots say otherwise.
        baseline: a system; None: no-memory if it is there, else the first.

    Raises:
        FilmError: a folder is not scored, has no scores, was measured with other instruments than the first, or has
            another story under the same name.
        ScriptError: two scripts of one name differ, and one of them has mistakes.
        SettingsError: there is no such baseline, or a folder is given twice.
    """
    folders = tuple(folders)
    films: dict[str, Mapping[str, Mapping[str, Any]]] = {}
    left_out: list[Mapping[str, str]] = []
    scored = [(folder, read_scores(folder)) for folder in folders]
    first = scored[0][1]
    names = system_names(folders, [scores["systems"] for _, scores in scored])
    for (folder, scores), shown in zip(scored, names, strict=True):
        if differing := [k for k in ("encoder", "judge", "reader", "frames", "features", "pixels", "prompt_likeness")
                         if scores["instruments"][k] != first["instruments"][k]]:  # fmt: skip
            raise FilmError(
                f"{folder}: was measured with another {differing[0]} than {folders[0]}: score both with the same, "
                "or the numbers mean different things."
            )
        left_out += scores["left_out"]
        for system, stories in scores["systems"].items():
            films[shown[system]] = stories
    _check_stories(folders, [scores["systems"] for _, scores in scored])
    if not films:
        raise FilmError(f"{folders[0]}: no film could be scored: see left_out in its scores.json.")
    if baseline is not None and baseline not in films:
        raise SettingsError(f"--baseline {baseline}: there are {', '.join(films)}.")
    base = baseline or ("no-memory" if "no-memory" in films else next(iter(films)))
    controls = [own[name] for name in CONTROLS for own in names if name in own]
    known = [*SYSTEMS, *(name for name in films if name not in SYSTEMS and name not in controls), *controls]
    order = (base, *(name for name in known if name in films and name != base))
    numbers = {system: {story: one["numbers"] for story, one in stories.items()} for system, stories in films.items()}
    numbers = {system: numbers[system] for system in order}
    rows = compare_systems(numbers, [metric["key"] for metric in first["metrics"]], base, controls=controls)
    measured = tuple(metric for metric in first["metrics"] if rows[metric["key"]])
    return Comparison(
        folders=folders,
        suite=read_suite(folders[0]),
        instruments=first["instruments"],
        metrics=measured,
        baseline=base,
        systems=order,
        controls=frozenset(controls),
        films=films,
        rows=rows,
        shared={metric["key"]: shared_stories(numbers, metric["key"], controls) for metric in measured},
        left_out=tuple(left_out),
    )


def _check_stories(folders: Sequence[Path], systems: Sequence[Mapping[str, Mapping[str, Any]]]) -> None:
    """See that films of one name are films of one story, as far as their scripts and shots tell."""
    lengths: dict[str, tuple[Path, set[int]]] = {}
    scripts: dict[str, tuple[Path, Path]] = {}
    for folder, theirs in zip(folders, systems, strict=True):
        for story in sorted({story for films in theirs.values() for story in films}):
            counts = {len(films[story]["shots"]) for films in theirs.values() if story in films}
            other, known = lengths.setdefault(story, (folder, counts))
            if counts != known:
                one, two = (" or ".join(map(str, sorted(some))) for some in (known, counts))
                raise _not_the_same(story, other, folder, f"it has {one} shots in the first and {two} in the second")
            if (script := script_in(folder / STORIES / story)) is not None:
                other, first = scripts.setdefault(story, (folder, script))
                if script.read_bytes() != first.read_bytes() and _asked(script) != _asked(first):
                    raise _not_the_same(story, other, folder, f"see {first} and {script}")


def _asked(script: Path) -> tuple[object, ...]:
    """What a script asks for, whatever its form: a story may be there as JSON of ST-Bench and as YAML."""
    story = load_story(script)
    return story.overview, *((shot.scene, shot.cut, shot.full_prompt) for shot in story.shots)


def _not_the_same(story: str, one: Path, other: Path, how: str) -> FilmError:
    return FilmError(
        f"{one} and {other}: {story} is not the same story in both ({how}): compare folders that were made from one "
        "suite with the same options, or give one of the stories another name."
    )


def findings(comparison: Comparison) -> list[tuple[str, str]]:
    """What is real, in sentences: ("up" or "down", text). Controls are left out: they are no systems.

    A system whose shots are mostly copies of one another is told of first.
    """
    found = []
    for system in comparison.systems:
        variety = comparison.value("diversity", system)
        if variety is not None and variety.mean < VARIED_ENOUGH / 2 and system not in comparison.controls:
            text = f"{system} repeats itself (diversity {variety.mean:.3f}): its consistency is partly that of copies"
            found.append(("down", text))
    for metric in comparison.metrics:
        if metric["better"] == "neither":
            continue
        for system in comparison.systems:
            one = comparison.difference(metric["key"], system)
            if one is None or not one.real or comparison.controls & {system, comparison.baseline}:
                continue
            by = f"{one.mean:+.3f}" + ("" if one.relative is None else f", {one.relative:+.1%}")
            found.append(
                (
                    "up" if one.mean > 0 else "down",
                    f"{system} is {'above' if one.mean > 0 else 'below'} {comparison.baseline} in "
                    f"{metric['title']}: {by} (95 % {one.low:+.3f} to {one.high:+.3f}; {one.wins} of {one.count} "
                    f"stories; p = {one.p:.3f})",
                )
            )
    return found


def uneven_stories(comparison: Comparison) -> str | None:
    """What to say, in one sentence, where systems do not have the same stories; None: all have all."""
    uneven = {
        key: stories
        for key, stories in comparison.shared.items()
        if any(row["own"].count != len(stories) for row in comparison.rows[key].values())
    }
    if not uneven:
        return None
    counts = sorted({len(stories) for stories in uneven.values() if stories})
    if not counts:
        return "Systems share no story: every mean is over a system's own stories, so none is called the best."
    total = len({story for films in comparison.films.values() for story in films})
    some = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    text = (
        f"Not every system has every story: means are over the {some} of {total} stories that all systems have, "
        "differences over those that a system shares with the baseline"
    )
    rows = [(uneven[key], comparison.rows[key]) for key in uneven if uneven[key]]
    if any(row["value"] is None or row["value"].count < len(stories) for stories, of in rows for row in of.values()):
        text += "; controls are over what they have of these"
    if alone := [metric["title"] for metric in comparison.metrics if not uneven.get(metric["key"], True)]:
        text += f"; no story is shared in {', '.join(alone)}, where each system has its own and none is called the best"
    return f"{text}."


def without_findings(comparison: Comparison) -> str:
    """What to say when there are no `findings`: nothing is real, or nobody asked."""
    systems = [name for name in comparison.systems if name not in comparison.controls and name != comparison.baseline]
    if not systems or comparison.baseline in comparison.controls:
        return "Controls are no systems, so nothing is said of them in words: what is real is marked in the table."
    return "No system differs from the baseline beyond chance on so many stories."
