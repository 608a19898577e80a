"""The plan of a film as a table: what `status` and `generate --dry-run` print."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from storymem.cli.film_work import moved_notes
from storymem.cli.show import clock, counted, shots_and_portraits
from storymem.film.critics import NO_CRITIC

if TYPE_CHECKING:
    from storymem.film.film_settings import FilmSettings
    from storymem.film.plan import PlannedShot
    from storymem.film.project import Film
    from storymem.film.tools import Tools
    from storymem.settings import SamplingConfig

__all__ = ["SecondsOf", "show_plan", "show_preview"]

SecondsOf = Callable[["PlannedShot"], float]
"""About how many seconds a shot takes to make."""

_RECALL = {"cast": "the cast that it names", "cast+scene": "the cast that it names and the last of its scene"}
_STYLES = {"done": "green", "stale": "yellow", "missing": "dim", "damaged": "bold red"}


def show_plan(
    film: Film,
    plan: Sequence[PlannedShot],
    *,
    as_json: bool,
    seconds_of: SecondsOf | None = None,
    notes: Sequence[str] = (),
    remake: bool = False,
    until: str | None = None,
) -> None:
    """Print a film's settings and every shot of it.

    Args:
        film: the film.
        plan: from `storymem.film.plan.plan_film`.
        as_json: as one JSON object.
        seconds_of: gives about how long a shot takes that is to be made; None goes by the takes that are there.
        notes: what is to be known before the film is made, such as `storymem.cli.remarks` says.
        remake: stale shots are to be made too.
        until: only up to this shot is to be made; see `storymem.film.portraits.shots_until`.
    """
    manifest = film.manifest
    notes = [*notes, *moved_notes(film, plan)]
    now = {shot.id for shot in manifest.shots_until(until)}
    sampling, memory = manifest.settings.sampling, manifest.settings.memory
    to_make = [p for p in plan if p.shot.id in now and (p.take is None or (remake and p.status == "stale"))]
    seconds = estimate(plan, sum(p.lacking for p in to_make))
    if seconds is None and seconds_of is not None:
        seconds = sum(seconds_of(p) * p.lacking for p in to_make)
    counts = {status: sum(p.status == status for p in plan) for status in ("done", "stale", "missing", "damaged")}
    frames = sum(planned.num_frames - planned.drop for planned in plan if planned.shot.portrait_of is None)
    if as_json:
        titles = manifest.story.scene_titles

        def plain(planned: PlannedShot) -> dict[str, Any]:
            title = titles.get(planned.shot.scene, "")
            return {**planned.to_json(), "scene_title": title, "takes": _takes(film, planned)}

        about = {
            "title": manifest.story.title,
            "folder": str(film.folder),
            "settings": film.manifest.settings_json(),
            "counts": counts,
            "frames": frames,
            "seconds": frames / sampling.fps,
            "estimated_seconds_to_make": seconds,
            "notes": list(notes),
            "portraits": [plain(planned) for planned in plan if planned.shot.portrait_of is not None],
            "shots": [plain(planned) for planned in plan if planned.shot.portrait_of is None],
        }
        sys.stdout.write(json.dumps(about, ensure_ascii=False) + "\n")
        return

    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    console.print(Text(manifest.story.title, style="bold"))
    model = manifest.tools.description.get("model", "unknown model")
    seen = "" if memory.recall == "all" else f"a shot sees {_RECALL[memory.recall]}; "
    for line in (
        f"{model}, {sampling.width}x{sampling.height}, {sampling.fps} fps, "
        f"{counted(sampling.num_inference_steps, 'step')} of {sampling.solver}, shift {sampling.shift:g}, "
        f"{_guidance(sampling)}, "
        f"film seed {manifest.settings.seed}{_takes_of(manifest.settings)}",
        f"memory: {memory.capacity} keyframes, the first {memory.sink} stay, S = {sampling.memory_stride}; {seen}"
        f"encoder {memory.encoder}, scorer {memory.scorer}",
    ):
        console.print(Text(line, style="dim"))
    for note in notes:
        console.print(Text(f"note: {note}"))
    width = max(len(planned.shot.id) for planned in plan)
    titles = manifest.story.scene_titles
    for planned in plan:
        if planned.shot.portrait_of is not None and not planned.shot.index:
            console.print(Text("\nPortraits", style="bold"))
        if title := titles.pop(planned.shot.scene, ""):  # before the first shot of it
            console.print(Text(f"\nScene {planned.shot.scene}: {title}", style="bold"))
        console.print(Text.assemble("\n", (f"{planned.shot.id:{width}}", "bold"), "  ", *_facts(planned)))
        indent = " " * (width + 2)
        console.print(Text(f"{indent}{planned.prompt}"))
        console.print(Text(f"{indent}sees {_sees(planned)}", style="dim"))
        for take in _takes(film, planned) if len(planned.kept) > 1 else ():
            mark = "in the film" if planned.take is not None and planned.take.key == take["key"] else "kept"
            when = "" if take["made_at"] is None else f"  made {_local(take['made_at'])}"
            score = "" if take["score"] is None else f"  score {take['score']:.2f}"
            text = f"{indent}take {take['key'][:16]}  seed {take['seed']}{score}{when}  {mark}"
            console.print(Text(text, style="dim"))
            if take["prompt"] not in (None, planned.prompt):
                console.print(Text(f"{indent}  of {take['prompt']}", style="dim"))
    said = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    what = shots_and_portraits(plan)
    line = f"\n{what} ({said}); {counted(frames, 'frame')}, {clock(frames / sampling.fps)} of film"
    if seconds is not None and to_make:
        line += f"; about {clock(seconds)} to make {'the rest' if counts['done'] else 'it'}"
    console.print(line)


def show_preview(
    film: Film,
    tools: Tools,
    notes: Sequence[str],
    *,
    as_json: bool,
    remake: bool = False,
    until: str | None = None,
) -> None:
    """Print the plan of a film that is not made yet, and about how long it takes to make.

    Args:
        film: from `storymem.film.project.Film.preview`.
        tools: what it would be made with.
        notes: see `show_plan`.
        as_json: see `show_plan`.
        remake: see `show_plan`.
        until: see `show_plan`.
    """
    from storymem.film.pipeline_maker import PipelineShotMaker
    from storymem.film.plan import plan_film

    settings, most_seen, pictures = film.manifest.settings, film.manifest.most_seen, film.manifest.num_pictures

    def seconds_of(planned: PlannedShot) -> float:
        maker, memory = tools.maker, settings.memory
        assert isinstance(maker, PipelineShotMaker)
        # Not yet decided: every shot before adds what it may at most.
        most = min(most_seen, pictures + planned.shot.index * memory.max_keyframes_per_shot)
        num_memory = most if planned.memory is None else len(planned.memory)
        return maker.estimate_seconds(replace(settings.sampling, num_frames=planned.num_frames), num_memory)

    show_plan(film, plan_film(film), as_json=as_json, seconds_of=seconds_of, notes=notes, remake=remake, until=until)


def _guidance(sampling: SamplingConfig) -> str:
    said = f"guidance {sampling.guidance_scale:g}"
    if sampling.guidance_scale_2 is not None and sampling.guidance_scale_2 != sampling.guidance_scale:
        said += f" and {sampling.guidance_scale_2:g}"
    if sampling.memory_guidance_scale > 1:
        said += f", of the memory {sampling.memory_guidance_scale:g}"
    if sampling.guidance_every > 1:
        said += f", at one of {sampling.guidance_every} steps"
    return said


def _takes_of(settings: FilmSettings) -> str:
    if settings.takes == 1:
        return ""
    who = "" if settings.critic == NO_CRITIC else f", the critic {settings.critic} chooses"
    return f"; {settings.takes} takes of each shot{who}"


def _facts(planned: PlannedShot) -> list[str | tuple[str, str]]:
    """The line beside a shot's id, in parts with their styles."""
    parts: list[str | tuple[str, str]] = [
        f"{planned.mode}  {counted(planned.num_frames, 'frame')}  seed {planned.seed}  ",
        (planned.status, _STYLES[planned.status]),
    ]
    if planned.reason:
        parts.append(f" ({planned.reason})")
    if planned.take is not None:
        parts.append((f"  take {planned.take.key[:16]}", "dim"))
    return parts


def _sees(planned: PlannedShot) -> str:
    if planned.memory is None:
        return f"what is decided after shot {planned.decided_after}"
    if not planned.memory:
        return "nothing"
    groups: dict[str, list[str]] = {}
    for seen in planned.memory:
        place, _, frame = seen.label.rpartition(", frame ")
        groups.setdefault(place or seen.label, []).extend([frame] if place else [])
    said = [
        place + (f", frame{'s' * (len(frames) > 1)} {', '.join(frames)}" if frames else "")
        for place, frames in groups.items()
    ]
    number = len(planned.memory)
    return f"{number} keyframe{'s' * (number > 1)}: {'; '.join(said)}"


def _takes(film: Film, planned: PlannedShot) -> list[dict[str, Any]]:
    """What tells the takes of a shot apart; of one that is damaged or gone, what the film itself knows."""
    from storymem.errors import FilmError

    out = []
    for kept in planned.kept:
        try:
            take = film.takes.find(planned.shot.id, kept.key, verify=False)
        except FilmError:
            take = None
        about = (None, None) if take is None else (take.record.made.get("at"), take.record.prompt)
        told = {"made_at": about[0], "prompt": about[1]}
        out.append({"key": kept.key, "seed": kept.seed, "score": kept.score, **told})
    return out


def _local(at: str) -> str:
    """A moment as the clock on the wall had it."""
    return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def estimate(plan: Sequence[PlannedShot], count: int) -> float | None:
    """Seconds to make so many takes, from the pace of the takes that are there; None without any."""
    past = [
        float(planned.take.record.made["seconds"])
        for planned in plan
        if planned.take is not None and "seconds" in planned.take.record.made
    ]
    return sum(past) / len(past) * count if past else None
