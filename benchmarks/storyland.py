"""How well a model keeps a story of Storyland together: identity, prompts, two heroes, and the method's ablations.

    python benchmarks/storyland.py --json FILE [--stories N] [--seed N] [--model NAME] [--systems memory none]

Makes stories that training never saw (heroes and layouts of the split "test") as films, with the project's own
director, reads what the shots show with an attribute reader (a small classifier trained on clean drawings), and
compares. The figures are told in docs/storyland.md. With --folder an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from storyland_report import CORES, aims, print_report
from storymem.bench.systems import GUIDED, METHOD
from storymem.cli.options import given, parse_size
from storymem.conditioning.codec import LatentCodec
from storymem.errors import StoryMemError
from storymem.film.choosers import critic_for
from storymem.film.critics import register_critic
from storymem.film.director import Director
from storymem.film.film_settings import PORTRAIT_PROMPT, FilmSettings
from storymem.film.pipeline_maker import PipelineShotMaker, Runtime
from storymem.film.project import Film
from storymem.film.resolve import ModelRequest, ResolvedModel, parse_loras, resolve_model
from storymem.film.tools import Tools
from storymem.media import FloatArray, from_uint8, read_video
from storymem.memory.encoders import load_encoder, load_scorer
from storymem.models.checkpoints import load_components
from storymem.settings import SamplingConfig
from storymem.story import parse_story
from storymem.worlds.storyland import WorldStory, render, sample_story, story_script, story_truth
from storymem.worlds.storyland.critic import StorylandCritic
from storymem.worlds.storyland.reader import Reader, load_reader
from storymem.worlds.storyland.scoring import FIGURES, Mark, figures, score_story


@dataclass(frozen=True)
class System:
    """One way to make the films.

    Attributes:
        title: for people.
        memory: fields of `MemoryConfig`.
        sampling: fields of `SamplingConfig`, beside what the model was made for.
        cast: the script has a cast, whose looks are woven into every prompt that names a hero.
        portraits: the film begins with a portrait of each hero, and a shot sees those of the heroes that it names.
    """

    title: str
    memory: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, Any] = field(default_factory=dict)
    cast: bool = False
    portraits: bool = False


def _guided(scale: float | None) -> dict[str, System]:
    """Those with memory guidance; None: 2 in the one that is named after it, and the model's own in the others."""
    guided: dict[str, Any] = dict(GUIDED) if scale is None else {"memory_guidance_scale": scale}
    memory: dict[str, Any] = {"capacity": 10, "sink": 3}
    own: dict[str, Any] = {"memory": memory, "sampling": {} if scale is None else guided}
    of_cast = {**own, "memory": {**memory, "recall": "cast"}}
    return {
        "guided": System(
            f"the same, led by the memory: guidance of {guided['memory_guidance_scale']:g}", memory, guided
        ),
        "cast": System("every prompt that names a hero tells the looks too: a script's cast", **own, cast=True),
        "portraits": System(
            "nothing remembered but portraits of the heroes that a shot names, made before the film",
            **of_cast,
            portraits=True,
        ),
        "cast-portraits": System("the same, of a script's cast", **of_cast, cast=True, portraits=True),
    }


ORACLE, DECODED = "oracle", "decoded"
JUDGE = "judge"
SYSTEMS = {
    ORACLE: System("the true drawings in place of generated shots: what the reader allows"),
    DECODED: System("the true drawings through the model's VAE: what its latents and decoder allow"),
    "memory": System(
        "memory as the method has it: 10 keyframes, 3 of them sink, S = 5", {"capacity": 10, "sink": 3}, METHOD
    ),
    **_guided(None),
    "none": System("no memory: the base alone", {"capacity": 0, "sink": 0}),
    # With one keyframe per shot, no judge and no threshold, that one is the shot's first frame, always.
    "first-frame": System(
        "each shot's first frame in place of selection",
        {"capacity": 10, "sink": 3, "max_keyframes_per_shot": 1, "similarity_threshold": 1.0, "scorer": "none"},
        METHOD,
    ),
    "no-sink": System("no sink: the 10 most recent keyframes", {"capacity": 10, "sink": 0}, METHOD),
    "stride-1": System(
        "S = 1: keyframes sit beside the shot in time", {"capacity": 10, "sink": 3}, {**METHOD, "memory_stride": 1}
    ),
    "size-1": System("memory size 1, which is the first keyframe (sink 1)", {"capacity": 1, "sink": 1}, METHOD),
    "size-3": System("memory size 3, which are the first keyframes (sink 3)", {"capacity": 3, "sink": 3}, METHOD),
    "size-3-recent": System(
        "memory size 3: the first keyframe and the two most recent", {"capacity": 3, "sink": 1}, METHOD
    ),
}
"""In the order in which they are measured; "memory" is also S = 5 and size 10 of the comparisons."""


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's text."""
    args = _arguments(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="storyland-") as temporary:
            _measure(args, args.folder or Path(temporary))
    except StoryMemError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="where the figures go; written anew after every system")
    parser.add_argument("--stories", type=int, default=10, help="of one hero, and as many of two (default 10)")
    parser.add_argument("--seed", type=int, default=0, help="of the first story of each kind")
    parser.add_argument("--shots", type=int, default=8, help="per story (default 8)")
    parser.add_argument("--model", help="a name or folder (default: what `storymem generate` takes)")
    parser.add_argument("--lora", action="append", help="a LoRA on it, PATH@0.5 for a weight; may be repeated")
    parser.add_argument("--size", help="WIDTHxHEIGHT; the model's own if not given")
    parser.add_argument("--frames", type=int, help="of a shot, 4k + 1; likewise")
    parser.add_argument("--steps", type=int, help="denoising steps; likewise")
    parser.add_argument("--guidance", type=float, help="likewise")
    parser.add_argument("--guidance-every", type=int, help="steps, of which one asks for guidance; likewise")
    parser.add_argument(
        "--memory-guidance",
        type=float,
        help="of the systems guided (if not given, 2), cast and those of portraits (the model's own)",
    )
    parser.add_argument(
        "--takes",
        type=int,
        help="of each shot in the systems of portraits, chosen from by the model's critic (default: the model's own); "
        "elsewhere one is made",
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="default: all of them")
    parser.add_argument("--oracle", action="store_true", help="the same as --systems oracle --no-timing")
    parser.add_argument("--no-timing", action="store_true", help="leave out the film from a cold start")
    parser.add_argument(
        "--reader",
        type=lambda text: text if text == JUDGE else Path(text),
        help="who reads: a file of tools/train_storyland_reader.py, or `judge`, which training learns from and the "
        "critic reads with (default: the package's other one)",
    )
    parser.add_argument("--folder", type=Path, help="where the films are kept; gone on with if they are there")
    args = parser.parse_args(argv)
    if args.takes is not None and args.takes < 1:
        parser.error("--takes must be at least 1")
    if args.stories < 1 or args.shots < 2:
        parser.error("--stories must be at least 1 and --shots at least 2")
    if args.oracle:
        args.systems, args.no_timing = [ORACLE], True
    return args


def _measure(args: argparse.Namespace, folder: Path) -> None:
    reader = load_reader(shipped="judge.safetensors") if args.reader == JUDGE else load_reader(args.reader)
    width, height = parse_size(args.size)
    options = given(
        width=width,
        height=height,
        num_frames=args.frames,
        num_inference_steps=args.steps,
        guidance_scale=args.guidance,
        guidance_scale_2=args.guidance,
        guidance_every=args.guidance_every,
    )
    request = ModelRequest(**given(model=args.model), loras=parse_loras(args.lora or []))
    resolved = resolve_model(request)
    sampling = {**resolved.sampling, **options}
    config = SamplingConfig(**sampling)
    kinds = [(heroes, seed) for seed in range(args.seed, args.seed + args.stories) for heroes in (1, 2)]
    stories = [
        sample_story(seed, shots=args.shots, heroes=heroes, num_frames=config.num_frames, fps=config.fps)
        for heroes, seed in kinds
    ]
    register_critic("storyland", StorylandCritic)
    report: dict[str, Any] = {
        "model": resolved.model.name,
        "loras": [lora.path.name for lora in resolved.model.loras],
        "stories": len(stories),
        "shots": args.shots,
        "seed": args.seed,
        "sampling": asdict(config),
        "reader": {"accuracy": reader.accuracy, **reader.about},
        "figures": dict(FIGURES),
        "storymem": version("storymem"),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "systems": {},
    }
    runtime = Runtime(device=args.device)
    maker = PipelineShotMaker(resolved.model, runtime=runtime, request=request.to_json())  # loads with its first shot
    systems = {**SYSTEMS, **_guided(args.memory_guidance)}
    for name in args.systems:
        system, place = systems[name], folder / "films" / name
        if name == ORACLE:
            shoot = _draw(config)
        elif name == DECODED:
            vae = load_components(resolved.model.folder, device=runtime.resolve()[0], only=["vae"]).vae
            shoot = _draw(config, LatentCodec(vae))
        else:
            shoot = _film(maker, resolved, sampling, system, place, args.takes)
        report["systems"][name] = _system(name, system, stories, kinds, config, reader, shoot)
        report["systems"][name]["takes"] = (args.takes or resolved.takes) if system.portraits else 1
        _write(args.json, report)
    if not args.no_timing:
        report["cold_start"] = cold_start(args, stories[0], folder)
        _write(args.json, report)
    report["aims"] = aims(report)
    _write(args.json, report)
    print_report(report)


Shoot = Callable[[WorldStory, str], tuple[list[FloatArray], list[float]]]
"""From a story and its name to the frames of its shots, and the seconds that each of them took."""


def _draw(config: SamplingConfig, codec: LatentCodec | None = None) -> Shoot:
    """What the story asks for, drawn by the world itself; with a codec, as its VAE gives it back."""

    def shoot(story: WorldStory, _: str) -> tuple[list[FloatArray], list[float]]:
        specs = [shot.spec for shot in story.shots]
        begun = time.perf_counter()
        drawn = render(specs, config.num_frames, config.height, config.width, fps=config.fps)
        if codec is not None:
            drawn = torch.cat([codec.decode(codec.encode(one)).cpu() for one in drawn.split(1)])
        shots = list(drawn.transpose(1, 2).contiguous().numpy())
        return shots, [(time.perf_counter() - begun) / len(shots)] * len(shots)

    return shoot


def _film(
    maker: PipelineShotMaker,
    resolved: ResolvedModel,
    sampling: Mapping[str, Any],
    system: System,
    folder: Path,
    takes: int | None,
) -> Shoot:
    """What a model makes of it, in a film's folder of its own; of systems with portraits, the best of several takes."""

    def shoot(story: WorldStory, title: str) -> tuple[list[FloatArray], list[float]]:
        portrait = (resolved.portrait_prompt or PORTRAIT_PROMPT) if system.portraits else ""
        script = story_script(story, cast=system.cast, portraits=portrait)
        told = parse_story(script, f"{title}.yaml", None)
        settings = FilmSettings.for_story(
            told,
            takes=(takes or resolved.takes) if system.portraits else 1,
            critic=resolved.critic if system.portraits else None,
            sampling={**sampling, **system.sampling},
            memory=system.memory,
            seed=story.seed,
            continue_with=resolved.continue_with,
            negative_prompt=resolved.negative_prompt,
        )
        memory, device = settings.memory, str(maker.runtime.resolve()[0])
        tools = Tools(
            maker,
            load_encoder(memory.encoder, device=device),
            load_scorer(memory.scorer, device=device),
            critic_for(settings.critic),
        )
        place = folder / title
        place.parent.mkdir(parents=True, exist_ok=True)
        with Film.begin(place, story=told, script=script.encode(), settings=settings, tools=tools) as film:
            for _ in Director(film, tools).generate():
                pass
            chosen = [film.chosen_take(shot.id) for shot in told.shots]
            made = [
                [film.takes.find(s.id, one.key, verify=False) for one in film.manifest.kept[s.id]] for s in told.shots
            ]
        shots = []
        for take in chosen:
            assert take is not None
            shots.append(from_uint8(np.stack(list(read_video(take.master)))))
        seconds = [sum(float(take.record.made["seconds"]) for take in every if take is not None) for every in made]
        return shots, seconds

    return shoot


def _system(
    name: str,
    system: System,
    stories: Sequence[WorldStory],
    kinds: Sequence[tuple[int, int]],
    config: SamplingConfig,
    reader: Reader,
    shoot: Shoot,
) -> dict[str, Any]:
    """Make and judge all films of one system."""
    marks: list[list[Mark]] = []
    times: list[float] = []
    begun = time.perf_counter()
    for number, (story, (heroes, seed)) in enumerate(zip(stories, kinds, strict=True), 1):
        shots, seconds = shoot(story, f"heroes-{heroes}-seed-{seed}-shots-{len(story.shots)}")
        truth = story_truth(story, config.num_frames, config.height, config.width, fps=config.fps)
        marks.append(score_story(truth, [reader.read(frames) for frames in shots]))
        times += seconds
        spent = time.perf_counter() - begun
        print(f"{name}: {number} of {len(stories)} stories, {spent:.0f} s", file=sys.stderr, flush=True)
    return {
        "title": system.title,
        "memory": dict(system.memory),
        "sampling": dict(system.sampling),
        "seconds_per_shot": round(float(np.median(times)), 3),
        "figures": figures(marks),
    }


def cold_start(args: argparse.Namespace, story: WorldStory, folder: Path) -> dict[str, Any]:
    """Seconds and peak memory of `storymem generate` for one story, in a process of its own on two cores of the CPU.

    The files of the model may be in the system's cache; the process begins with nothing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cold-", dir=folder) as place:
        script = Path(place) / "story.yaml"
        script.write_text(story_script(story), encoding="utf-8")
        command = [sys.executable, "-m", "storymem", "generate", str(script), "-o", str(Path(place) / "film")]
        command += ["--device", "cpu", "--seed", str(story.seed), "--json"]
        for option in ("model", "size", "frames", "steps", "guidance", "guidance-every"):
            if (value := getattr(args, option.replace("-", "_"))) is not None:
                command += [f"--{option}", str(value)]
        for lora in args.lora or []:
            command += ["--lora", lora]
        # A child begins with the cores of its parent. Systems that cannot bind processes use all they have.
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_setaffinity") else None
        if cores is not None:
            os.sched_setaffinity(0, sorted(cores)[:CORES])
        try:
            begun = time.perf_counter()
            with (Path(place) / "output").open("w+b") as output:
                process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
                _, status, used = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                seconds = time.perf_counter() - begun
                output.seek(0)
                said = output.read().decode(errors="replace")
        finally:
            if cores is not None:
                os.sched_setaffinity(0, cores)
    if process.returncode:
        raise RuntimeError(f"storymem generate ended with {process.returncode}:\n{said[-2000:]}")
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # bytes there, KiB elsewhere
    used_cores = os.cpu_count() if cores is None else min(CORES, len(cores))
    return {
        "shots": len(story.shots),
        "seconds": round(seconds, 1),
        "peak_gb": round(peak / 1e9, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "cores": used_cores,
    }


def _write(path: Path | None, report: Mapping[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
