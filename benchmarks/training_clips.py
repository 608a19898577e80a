"""How long a world's clips take to become what the trainer needs: drawn, then encoded in two ways.

    python benchmarks/training_clips.py [--groups N] [--frames F] [--threads N] [--workers N ...]

Groups of four clips of 112x64 pixels, as `examples/train/storyland/5_clips.yaml` has them, each with a known first
frame and three keyframes (`--frames 1`: one, as `4_finer.yaml`) in two versions. Milliseconds a group, medians: to draw
it, to encode it with the encoder of the small model as it is, and as the block code that it is
(`storymem.training.block_code`). Both encode the same drawings in turn. Then groups a second, drawn and encoded in this
process and ahead by others, as with `runtime.workers: N`; their start is not counted. Last, milliseconds to put a batch
together from groups that are there: to see that they are, to plan it, to gather its tensors, to look up its prompts'
token ids, and to draw the noise of its clips (`--batch N`).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

import torch

from storymem.conditioning.codec import LatentCodec
from storymem.film.resolve import ModelRequest, resolve_model
from storymem.models.checkpoints import load_components
from storymem.training.ahead import DrawnAhead
from storymem.training.block_code import BlockCodec, quick_codec
from storymem.training.clips import Clip
from storymem.training.encode import SourceLoader
from storymem.training.noise import draw_noise
from storymem.training.plan import plan_batch
from storymem.training.sections import AugmentSection, ConditioningSection, DataSection
from storymem.training.stills import quicken_stills
from storymem.training.store import ClipStore
from storymem.training.text import PromptIds
from storymem.worlds.storyland.source import StorylandSource


class Remembered(StorylandSource):
    """Draws a group once, however often it is asked for in turn."""

    drawn: tuple[int, Sequence[Clip]] | None = None

    def group(self, index: int) -> Sequence[Clip]:
        """See `ClipSource.group`."""
        if self.drawn is None or self.drawn[0] != index:
            self.drawn = (index, super().group(index))
        return self.drawn[1]


def main() -> None:
    """Time everything; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=20)
    parser.add_argument("--frames", type=int, default=25)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--batch", type=int, default=512)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = resolve_model(ModelRequest()).model.folder
    vae = load_components(folder, only=["vae"]).vae
    quicken_stills(vae)
    codecs = {"encoder": LatentCodec(vae), "block code": quick_codec(vae)}
    assert isinstance(codecs["block code"], BlockCodec)
    source = Remembered(112, 64, args.frames, {"clips": 4, "two_heroes": 0.6})
    loaders = {
        name: SourceLoader(
            source,
            codec,
            seed=0,
            known=(1,),
            keyframes=min(3, args.frames),
            variants=1,
            config=AugmentSection(),
        )
        for name, codec in codecs.items()
    }
    times: dict[str, list[float]] = {"drawing": [], **{name: [] for name in codecs}}
    largest = 0.0
    for index in range(args.groups + 1):
        started = time.perf_counter()
        source.group(index)
        seconds = {"drawing": time.perf_counter() - started}
        latents = []
        for name, loader in loaders.items():
            started = time.perf_counter()
            encoded = loader.load(index)
            seconds[name] = time.perf_counter() - started
            latents.append(torch.stack([clip.latents for clip in encoded]))
        largest = max(largest, float((latents[0] - latents[1]).abs().max()))
        if index:  # the first fills caches
            for name, value in seconds.items():
                times[name].append(value * 1e3)
    for name, values in times.items():
        print(f"{name:12}{statistics.median(values):8.1f} ms a group")
    print(f"largest difference of latents: {largest:.1e}")

    here = loaders["block code"]
    here.source = StorylandSource(112, 64, args.frames, {"clips": 4, "two_heroes": 0.6})
    print(f"in this process {groups_a_second(here, args.groups):6.2f} groups a second")
    for workers in args.workers:
        ahead = DrawnAhead(here, here, workers, ordered=10**6)
        print(f"{workers:2} ahead        {groups_a_second(ahead, args.groups, 4 * workers):6.2f} groups a second")
    tokenizer = load_components(folder, only=["tokenizer"]).tokenizer
    assert tokenizer is not None
    ids = PromptIds(tokenizer)
    for name, value in batch_times(here, ids, args.batch, args.groups).items():
        print(f"{name:12}{value:8.1f} ms a batch of {args.batch}")


def batch_times(loader: SourceLoader, ids: PromptIds, batch: int, groups: int) -> dict[str, float]:
    """Medians of what a batch with up to eight keyframes costs before the network sees it."""
    store = ClipStore(loader, DataSection(world="storyland", pool=groups), windowed=True)
    store.prepare(0)
    config = ConditioningSection(max_memory=8, drop_memory=0.15, first_frame=0.15, motion_frames=0.0)
    times: dict[str, list[float]] = {"window": [], "plan": [], "gather": [], "token ids": [], "noise": []}
    for step in range(9):
        started = [time.perf_counter()]
        store.prepare(step)
        started.append(time.perf_counter())
        plan = plan_batch(0, step, 0, table=store.table(0), config=config, batch=batch)
        started.append(time.perf_counter())
        made = store.gather(plan, "cpu")
        started.append(time.perf_counter())
        ids(made.prompts)
        started.append(time.perf_counter())
        draw_noise(made.noise_seeds, made.latents.shape[1:], "cpu")
        started.append(time.perf_counter())
        for part, before, after in zip(times.values(), started, started[1:], strict=False):
            part.append((after - before) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def groups_a_second(loader: SourceLoader | DrawnAhead, count: int, before: int = 2) -> float:
    """How many of the next `count` groups are loaded in a second, after some that may lie ready from the start."""
    for index in range(before):
        loader.load(index)
    started = time.perf_counter()
    for index in range(before, before + count):
        loader.load(index)
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
