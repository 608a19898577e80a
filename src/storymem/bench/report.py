"""The comparison of scored folders as JSON and as one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from storymem.bench import plots
from storymem.bench.compare import Difference, Interval, compare_systems
from storymem.bench.films import STORIES, script_in
from storymem.bench.make import read_suite
from storymem.bench.score import read_scores
from storymem.bench.systems import CONTROLS, SYSTEMS
from storymem.errors import FilmError, SettingsError
from storymem.film.storage import make_folder, replace_file
from storymem.media import Uint8Array

__all__ = ["COMPARISON", "REPORT", "Comparison", "Previews", "compare_folders", "findings", "write_report"]

COMPARISON, REPORT = "comparison.json", "report.html"

Previews = Mapping[tuple[str, str], Sequence[Uint8Array]]
"""By system and story: the middle frame of each shot, small."""

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#7a52a3", "#e0a100")
_GREYS = ("#55514a", "#8d877b", "#a9a294", "#c4bdae")


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
        films: by system and story, what ``scores.json`` has.
        rows: see `compare_systems`.
        left_out: films that could not be scored.
    """

    folders: tuple[Path, ...]
    suite: Mapping[str, Any] | None
    instruments: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    baseline: str
    systems: tuple[str, ...]
    films: Mapping[str, Mapping[str, Mapping[str, Any]]]
    rows: Mapping[str, Mapping[str, Mapping[str, Any]]]
    left_out: tuple[Mapping[str, str], ...]

    def value(self, key: str, system: str) -> Interval | None:
        """A system's mean on a metric."""
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
            "rows": rows,
            "findings": [text for _, text in findings(self)],
            "left_out": list(self.left_out),
        }


def compare_folders(folders: Sequence[Path], baseline: str | None = None) -> Comparison:
    """Put the systems of scored folders side by side.

    Args:
        folders: with ``scores.json``, measured with the same instruments. Stories of one name are the same story.
        baseline: a system; None: no-memory if it is there, else the first.

    Raises:
        FilmError: a folder is not scored, has no scores, or was measured with other instruments than the first.
        SettingsError: there is no such baseline.
    """
    films: dict[str, Mapping[str, Mapping[str, Any]]] = {}
    left_out: list[Mapping[str, str]] = []
    scored = [(folder, read_scores(folder)) for folder in folders]
    first = scored[0][1]
    for folder, scores in scored:
        if differing := [k for k in ("encoder", "judge", "reader", "frames", "features", "pixels", "prompt_likeness")
                         if scores["instruments"][k] != first["instruments"][k]]:  # fmt: skip
            raise FilmError(
                f"{folder}: was measured with another {differing[0]} than {folders[0]}: score both with the same, "
                "or the numbers mean different things."
            )
        left_out += scores["left_out"]
        for system, stories in scores["systems"].items():
            films[system if system not in films else f"{folder.name}/{system}"] = stories
    if not films:
        raise FilmError(f"{folders[0]}: no film could be scored: see left_out in its scores.json.")
    if baseline is not None and baseline not in films:
        raise SettingsError(f"--baseline {baseline}: there are {', '.join(films)}.")
    base = baseline or ("no-memory" if "no-memory" in films else next(iter(films)))
    known = [*SYSTEMS, *(name for name in films if name not in SYSTEMS and name not in CONTROLS), *CONTROLS]
    order = (base, *(name for name in known if name in films and name != base))
    numbers = {system: {story: one["numbers"] for story, one in stories.items()} for system, stories in films.items()}
    numbers = {system: numbers[system] for system in order}
    rows = compare_systems(numbers, [metric["key"] for metric in first["metrics"]], base, controls=CONTROLS)
    return Comparison(
        folders=tuple(folders),
        suite=read_suite(folders[0]),
        instruments=first["instruments"],
        metrics=tuple(metric for metric in first["metrics"] if rows[metric["key"]]),
        baseline=base,
        systems=order,
        films=films,
        rows=rows,
        left_out=tuple(left_out),
    )


def findings(comparison: Comparison) -> list[tuple[str, str]]:
    """What is real, in sentences: ("up" or "down", text). Controls are left out: they are no systems."""
    found = []
    for metric in comparison.metrics:
        if metric["better"] == "neither":
            continue
        for system in comparison.systems:
            one = comparison.difference(metric["key"], system)
            if one is None or not one.real or system in CONTROLS or comparison.baseline in CONTROLS:
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


def write_report(comparison: Comparison, folder: Path, previews: Previews, *, sheets: int = 8) -> tuple[Path, Path]:
    """Write ``comparison.json`` and ``report.html``.

    Args:
        comparison: of systems.
        folder: made if it is missing.
        previews: for the contact sheets.
        sheets: stories shown at most.

    Returns:
        The two files.

    Raises:
        StorageError: the system refused a write.
    """
    make_folder(folder)
    data, page = folder / COMPARISON, folder / REPORT
    replace_file(data, json.dumps(comparison.to_json(), indent=1).encode())
    replace_file(page, _page(comparison, previews, sheets).encode())
    return data, page


def _page(comparison: Comparison, previews: Previews, sheets: int) -> str:
    css = (resources.files(__package__) / "report.css").read_text(encoding="utf-8")
    colours = _colours(comparison.systems)
    stories = sorted({story for system in comparison.films.values() for story in system})
    suite = (comparison.suite or {}).get("suite", "films")
    real = sum(name not in CONTROLS for name in comparison.systems)
    encoder = comparison.instruments["encoder"]
    lead = (
        f"{real} system{'s' * (real != 1)} on {len(stories)} stor{'y' if len(stories) == 1 else 'ies'}; shots compared "
        f"by the encoder <b>{escape(encoder['name'])}</b>. Baseline: <b>{escape(comparison.baseline)}</b>."
    )
    body = [
        f"<h1>Many shots, one film: {escape(suite)}</h1><p class=lead>{lead}</p>",
        _legend(colours),
        _findings(comparison),
        _table(comparison, colours),
        _dot_plots(comparison, colours),
        _overviews(comparison, colours),
        _heats(comparison, colours),
        _sheets(comparison, previews, colours, stories[:sheets], len(stories)),
        _definitions(comparison),
    ]
    version = comparison.instruments["storymem"]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>storymem bench: {escape(suite)}</title><style>{css}</style><main>{''.join(body)}"
        f"<footer>Made by storymem {escape(version)} from {escape(', '.join(f.name for f in comparison.folders))}."
        " The same numbers, with those of every film and shot, are in comparison.json and scores.json.</footer></main>"
    )


def _colours(systems: Sequence[str]) -> dict[str, str]:
    named = [name for name in systems if name not in CONTROLS]
    greys = [name for name in systems if name in CONTROLS]
    return {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(named)} | {
        name: _GREYS[i % len(_GREYS)] for i, name in enumerate(greys)
    }


def _swatch(colour: str) -> str:
    return f'<span class=swatch style="background:{colour}"></span>'


def _legend(colours: Mapping[str, str]) -> str:
    says = {name: system.says for name, system in SYSTEMS.items()} | dict(CONTROLS)
    items = (f"<span title='{escape(says.get(n, ''))}'>{_swatch(c)}{escape(n)}</span>" for n, c in colours.items())
    return f"<div class=legend>{''.join(items)}</div>"


def _findings(comparison: Comparison) -> str:
    found = findings(comparison)
    how = (
        "<p class=note>A difference counts as real if its 95 % bootstrap interval over stories leaves out zero and a "
        "paired sign-flip test, adjusted for the number of systems (Holm), has p ≤ 0.05. Everything else may be chance."
        "</p>"
    )
    if not found:
        return f"<h2>What is real</h2><p>No difference from the baseline is beyond chance on so many stories.</p>{how}"
    items = "".join(f"<li class={way}>{escape(text)}</li>" for way, text in found)
    return f"<h2>What is real</h2><ul class=findings>{items}</ul>{how}"


def _table(comparison: Comparison, colours: Mapping[str, str]) -> str:
    head = "".join(f'<th title="{escape(m["says"])}">{escape(m["title"])}</th>' for m in comparison.metrics)
    rows = []
    for system in comparison.systems:
        cells = [f"<td>{_swatch(colours[system])}{escape(system)}</td>"]
        cells += [_cell(comparison, metric, system) for metric in comparison.metrics]
        rows.append(f"<tr{' class=control' if system in CONTROLS else ''}>{''.join(cells)}</tr>")
    return (
        "<h2>Every number</h2><p class=note>Means over stories; below them the difference from the baseline. Green and "
        "red: real. Shaded: the best system. Grey systems are controls, which no model made.</p>"
        f"<div class='card scroll'><table><tr><th>System</th>{head}</tr>{''.join(rows)}</table></div>"
    )


def _cell(comparison: Comparison, metric: Mapping[str, Any], system: str) -> str:
    key = metric["key"]
    value, difference = comparison.value(key, system), comparison.difference(key, system)
    if value is None:
        return "<td title='not measured'>·</td>"
    classes = []
    if metric["better"] == "higher":
        others = [comparison.value(key, name) for name in comparison.systems if name not in CONTROLS]
        best = max((one.mean for one in others if one is not None), default=None)
        if system not in CONTROLS and len([one for one in others if one]) > 1 and value.mean == best:
            classes.append("best")
        if difference is not None and difference.real and system not in CONTROLS:
            classes.append("up" if difference.mean > 0 else "down")
    small = "" if difference is None else f"<small>{difference.mean:+.3f}</small>"
    return f'<td class="{" ".join(classes)}">{value.mean:.3f}{small}</td>'


def _dot_plots(comparison: Comparison, colours: Mapping[str, str]) -> str:
    cards = []
    for metric in comparison.metrics:
        rows = [(s, colours[s], one) for s in comparison.systems if (one := comparison.value(metric["key"], s))]
        cards.append(
            f"<div class=card><h3>{escape(metric['title'])}</h3><p class=note>{escape(metric['says'])}</p>"
            f"{plots.dots(rows, title=metric['title'])}</div>"
        )
    return (
        "<h2>One by one</h2><p class=note>Dots are means over stories, lines their 95 % bootstrap intervals.</p>"
        f"<div class=grid2>{''.join(cards)}</div>"
    )


def _overviews(comparison: Comparison, colours: Mapping[str, str]) -> str:
    places = {}
    for system in comparison.systems:
        one, other = comparison.value("consistency_all", system), comparison.value("diversity", system)
        if one is not None and other is not None:
            places[system] = (colours[system], (other.mean, one.mean))
    lines = []
    for system in comparison.systems:
        of = [film["by_distance"] for film in comparison.films[system].values() if film["by_distance"]]
        if of:
            longest = max(map(len, of))
            mean = [float(np.mean([values[i] for values in of if len(values) > i])) for i in range(longest)]
            lines.append((system, colours[system], mean))
    cards = []
    if places:
        plot = plots.scatter(places, labels=("diversity", "consistency, all pairs"), title="consistency and diversity")
        cards.append(
            "<div class=card><h3>Coherent, and not by copying</h3><p class=note>Copies sit at the top left, unrelated "
            f"shots at the bottom right.</p>{plot}</div>"
        )
    if lines:
        plot = plots.curves(lines, labels=("shots apart", "similarity"), title="similarity by distance")
        cards.append(
            "<div class=card><h3>How similarity fades</h3><p class=note>Mean similarity of shots one, two, three ... "
            f"places apart: a memory holds the line up.</p>{plot}</div>"
        )
    return f"<h2>The two pictures that matter</h2><div class=grid2>{''.join(cards)}</div>" if cards else ""


def _heats(comparison: Comparison, colours: Mapping[str, str]) -> str:
    figures = []
    for system in comparison.systems:
        matrices = [np.array(film["similarity"]) for film in comparison.films[system].values()]
        sizes = [len(matrix) for matrix in matrices]
        size = max(set(sizes), key=lambda n: (sizes.count(n), n))
        mean = np.mean([matrix for matrix in matrices if len(matrix) == size], axis=0)
        svg = plots.heat(mean.tolist(), colours[system], title=f"similarity of shots, {system}")
        figures.append(f"<figure>{svg}<figcaption>{escape(system)}</figcaption></figure>")
    return (
        "<h2>Shot by shot</h2><p class=note>Similarity of every two shots, mean over stories of the same length: dark "
        f"blocks along the diagonal are scenes.</p><div class='card heats'>{''.join(figures)}</div>"
    )


def _sheets(
    comparison: Comparison, previews: Previews, colours: Mapping[str, str], stories: Sequence[str], count: int
) -> str:
    blocks = []
    for story in stories:
        prompts = _prompts(comparison.folders, story)
        shown = [system for system in comparison.systems if (system, story) in previews]
        if not shown:
            continue
        length = max(len(previews[system, story]) for system in shown)
        head = "".join(
            f"<th>{escape(_short(prompts[i]))}</th>" if i < len(prompts) else "<th></th>" for i in range(length)
        )
        rows = []
        for system in shown:
            cuts = [shot["cut"] for shot in comparison.films[system][story]["shots"]]
            cells = (
                f'<td{"" if cuts[i] else " class=joined"}><img alt="shot {i + 1}" src="{_jpeg(picture)}"></td>'
                for i, picture in enumerate(previews[system, story])
            )
            rows.append(f"<tr><td>{_swatch(colours[system])}{escape(system)}</td>{''.join(cells)}</tr>")
        blocks.append(
            f"<div class='story card'><h3>{escape(story)}</h3><div class=scroll><table><tr><td></td>{head}</tr>"
            f"{''.join(rows)}</table></div></div>"
        )
    if not blocks:
        return ""
    of = "" if count <= len(stories) else f" The first {len(stories)} of {count} stories."
    return (
        "<h2>See for yourself</h2><p class=note>The middle frame of every shot. Frames that touch are not parted by a "
        f"cut.{of}</p>{''.join(blocks)}"
    )


def _prompts(folders: Sequence[Path], story: str) -> list[str]:
    from storymem.story import load_story

    path = next((found for folder in folders if (found := script_in(folder / STORIES / story))), None)
    return [] if path is None else [shot.prompt for shot in load_story(path).shots]


def _short(text: str, letters: int = 90) -> str:
    return text if len(text) <= letters else text[:letters].rsplit(" ", 1)[0] + " …"


def _jpeg(picture: Uint8Array) -> str:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _definitions(comparison: Comparison) -> str:
    instruments = comparison.instruments
    rows = []
    for metric in comparison.metrics:
        by = instruments.get(metric["measured_by"]) or {"identity": "nothing"}
        way = "higher is better" if metric["better"] == "higher" else "neither way is better"
        rows.append(
            f"<tr><td>{escape(metric['title'])}</td><td class=says>{escape(metric['says'])} <i>({way})</i></td>"
            f"<td class=says><code>{escape(by['identity'])}</code></td></tr>"
        )
    absent = "" if instruments.get("text") else (
        "<p>Prompt following is not measured: the encoder knows no words.</p>"
    )  # fmt: skip
    accuracy = instruments.get("reader_accuracy") or {}
    reader = (
        "<p>The reader of attributes is right, on clean pictures, in "
        + ", ".join(f"{escape(name)} {share:.0%}" for name, share in accuracy.items())
        + ": no system can measure better than that.</p>"
        if accuracy
        else ""
    )
    left = "".join(
        f"<li><b>{escape(one['system'])} / {escape(one['story'])}</b>: {escape(one['reason'])}</li>"
        for one in comparison.left_out
    )
    return (
        "<h2>What the numbers are</h2><p>Similarity is a cosine of embeddings, weighed by what the two shots are worth "
        "as pictures, so that noise and blur cannot win; the plain cosine, as papers report it, stands in the rows "
        "marked plain. Numbers of different encoders, or of other papers' harnesses, cannot be compared.</p>"
        f"{absent}{reader}<div class='card scroll'><table><tr><th>Metric</th><th class=says>Says</th>"
        f"<th class=says>Measured by</th></tr>{''.join(rows)}</table></div>"
        f"<p class=note>Frames: <code>{escape(instruments['frames'])}</code> · prompts compared by "
        f"<code>{escape(instruments['prompt_likeness'])}</code></p>"
        + (f"<h3>Left out</h3><ul>{left}</ul>" if left else "")
    )
