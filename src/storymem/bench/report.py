"""A comparison as JSON and as one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from storymem.bench import plots
from storymem.bench.comparison import Comparison, findings, uneven_stories, without_findings
from storymem.bench.films import STORIES, script_in
from storymem.bench.naming import folder_labels
from storymem.bench.systems import CONTROLS, SYSTEMS
from storymem.film.storage import make_folder, replace_file
from storymem.media import Uint8Array

__all__ = ["COMPARISON", "REPORT", "Previews", "write_report"]

COMPARISON, REPORT = "comparison.json", "report.html"

Previews = Mapping[tuple[str, str], Sequence[Uint8Array]]
"""By system and story: the middle frame of each shot, small."""

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#7a52a3", "#e0a100")
_GREYS = ("#55514a", "#8d877b", "#a9a294", "#c4bdae")


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
    colours = _colours(comparison)
    stories = sorted({story for system in comparison.films.values() for story in system})
    suite = (comparison.suite or {}).get("suite", "films")
    real = sum(name not in comparison.controls for name in comparison.systems)
    encoder = comparison.instruments["encoder"]
    count = len(comparison.systems) - real
    who = [f"{real} system{'s' * (real != 1)}"] * bool(real) + [f"{count} control{'s' * (count != 1)}"] * bool(count)
    lead = (
        f"{' and '.join(who)} on {len(stories)} stor{'y' if len(stories) == 1 else 'ies'}; shots compared by "
        f"the encoder <b>{escape(encoder['name'])}</b>. Baseline: <b>{escape(comparison.baseline)}</b>."
    )
    body = [
        f"<h1>Many shots, one film: {escape(suite)}</h1><p class=lead>{lead}</p>",
        _legend(colours),
        _findings(comparison),
        _table(comparison, colours),
        _overviews(comparison, colours),
        _dot_plots(comparison, colours),
        _heats(comparison, colours),
        _sheets(comparison, previews, colours, stories[:sheets], len(stories)),
        _definitions(comparison),
    ]
    version = comparison.instruments["storymem"]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>storymem bench: {escape(suite)}</title><style>{css}</style><main>{''.join(body)}"
        f"<footer>Made by storymem {escape(version)} from {escape(', '.join(folder_labels(comparison.folders)))}."
        " The same numbers, with those of every film and shot, are in comparison.json and scores.json.</footer></main>"
    )


def _colours(comparison: Comparison) -> dict[str, str]:
    named = [name for name in comparison.systems if name not in comparison.controls]
    greys = [name for name in comparison.systems if name in comparison.controls]
    return {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(named)} | {
        name: _GREYS[i % len(_GREYS)] for i, name in enumerate(greys)
    }


def _swatch(colour: str) -> str:
    return f'<span class=swatch style="background:{colour}"></span>'


def _legend(colours: Mapping[str, str]) -> str:
    says = {name: system.says for name, system in SYSTEMS.items()} | dict(CONTROLS)
    said = {name: says.get(name.rpartition("/")[2], "") for name in colours}  # of another folder's, too
    items = (f"<span title='{escape(said[n])}'>{_swatch(c)}{escape(n)}</span>" for n, c in colours.items())
    return f"<div class=legend>{''.join(items)}</div>"


def _findings(comparison: Comparison) -> str:
    found = findings(comparison)
    how = (
        "<p class=note>A difference counts as real if its 95 % bootstrap interval over stories leaves out zero and a "
        "paired sign-flip test, adjusted for the number of systems (Holm), has p ≤ 0.05. Everything else may be chance."
        "</p>"
    )
    if not found:
        return f"<h2>What is real</h2><p>{without_findings(comparison)}</p>{how}"
    items = "".join(f"<li class={way}>{escape(text)}</li>" for way, text in found)
    return f"<h2>What is real</h2><ul class=findings>{items}</ul>{how}"


def _table(comparison: Comparison, colours: Mapping[str, str]) -> str:
    head = "".join(f"<th>{_swatch(colours[system])}{escape(system)}</th>" for system in comparison.systems)
    rows = []
    for metric in comparison.metrics:
        cells = "".join(_cell(comparison, metric, system) for system in comparison.systems)
        rows.append(f'<tr><td title="{escape(metric["says"])}">{escape(metric["title"])}</td>{cells}</tr>')
    uneven = uneven_stories(comparison)
    return (
        "<h2>Every number</h2><p class=note>Means over stories; below them the difference from the baseline. Green and "
        "red: real. Shaded: the best system. Grey columns are controls, which no model made.</p>"
        + (f"<p><b>{escape(uneven)}</b></p>" if uneven else "")
        + f"<div class='card scroll'><table><tr><th>Metric</th>{head}</tr>{''.join(rows)}</table></div>"
    )


def _cell(comparison: Comparison, metric: Mapping[str, Any], system: str) -> str:
    key = metric["key"]
    value, difference = comparison.value(key, system), comparison.difference(key, system)
    classes = ["control"] if system in comparison.controls else []
    if value is None:
        return f"<td class='{' '.join(classes)}' title='not measured'>·</td>"
    if metric["better"] == "higher" and system not in comparison.controls:
        others = [comparison.value(key, name) for name in comparison.systems if name not in comparison.controls]
        means = [one.mean for one in others if one is not None]
        if len(means) > 1 and comparison.shared[key] and value.mean == max(means):
            classes.append("best")
        if difference is not None and difference.real:
            classes.append("up" if difference.mean > 0 else "down")
    small = "" if difference is None else f"<small>{_signed(difference.mean)}</small>"
    return f'<td class="{" ".join(classes)}">{_number(value.mean)}{small}</td>'


def _number(value: float) -> str:
    return f"{0.0 if abs(value) < 0.0005 else value:.3f}"


def _signed(value: float) -> str:
    return "±0" if abs(value) < 0.0005 else f"{value:+.3f}"


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


def _films(comparison: Comparison, system: str) -> list[Mapping[str, Any]]:
    """The films of a system that stand for it beside others: of the stories that all systems have, as for means."""
    shared = comparison.shared.get("consistency_all")
    return [film for story, film in comparison.films[system].items() if not shared or story in shared]


def _overviews(comparison: Comparison, colours: Mapping[str, str]) -> str:
    places = {}
    for system in comparison.systems:
        one, other = comparison.value("consistency_all", system), comparison.value("diversity", system)
        if one is not None and other is not None:
            places[system] = (colours[system], (other.mean, one.mean))
    lines = []
    for system in comparison.systems:
        of = [film["by_distance"] for film in _films(comparison, system) if film["by_distance"]]
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
    return f"<h2>The two pictures that matter</h2><div class=wide>{''.join(cards)}</div>" if cards else ""


def _heats(comparison: Comparison, colours: Mapping[str, str]) -> str:
    figures = []
    for system in comparison.systems:
        matrices = [np.array(film["similarity"]) for film in _films(comparison, system)]
        if not matrices:
            continue
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
        side = max(84, min(160, 950 // length - 6))
        blocks.append(
            f"<div class='story card' style='--side:{side}px'><h3>{escape(story)}</h3>"
            f"<div class=scroll><table><tr><td></td>{head}</tr>"
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
