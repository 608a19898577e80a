"""Train the reader that measures generated shots of Storyland, measure it, and write its weights.

    python tools/train_storyland_reader.py [--steps N] [-o FILE]

Without options it writes the package's own `reader.safetensors`. The judge that training learns from and that chooses
among takes is another one beside it: `--seed 11 --steps 2400 --refine-steps 500 --shots 300 -o .../judge.safetensors`,
and then, on drawings as the small model's VAE gives them back, `--refine .../judge.safetensors --refine-steps 2200
--seed 12 --through .../vae --shots 300 -o .../judge.safetensors`. It learns on one thread, so that every run gives the
same reader, while another process draws.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from storymem.worlds.storyland.reader import load_reader
from storymem.worlds.storyland.reader_network import ReaderNetwork
from storymem.worlds.storyland.reader_training import measure_reader, refine_reader, save_reader, train_reader

PACKAGE = Path(__file__).parents[1] / "src" / "storymem" / "worlds" / "storyland" / "reader.safetensors"


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=PACKAGE)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--measure", action="store_true", help="train nothing, measure what is in the file")
    trained_before = parser.add_mutually_exclusive_group()
    trained_before.add_argument("--start", type=Path, help="a trained reader, to go on from with both stages")
    trained_before.add_argument("--refine", type=Path, help="a trained reader, to go on from: the second stage alone")
    parser.add_argument("--refine-steps", type=int, default=3600)
    parser.add_argument("--batch-size", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--through", type=Path, metavar="VAE", help="a VAE's folder: learn from what it gives back")
    parser.add_argument("--shots", type=int, default=1000, help="unseen shots to measure it on")
    args = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.perf_counter()
    losses: list[float] = []

    def told(step: int, loss: float) -> None:
        losses.append(loss)
        if step % 50 == 0:
            mean = sum(losses[-50:]) / 50
            print(f"step {step:5d}  loss {mean:7.3f}  {time.perf_counter() - begun:6.0f} s", flush=True)

    if args.measure:
        reader = load_reader(args.output)
        accuracy, about = measure(reader.network, args.shots)
        save_reader(reader.network, args.output, accuracy, {**reader.about, **about})
        return
    first: dict[str, Any] = {}
    if args.refine is None:
        old = None if args.start is None else load_reader(args.start)
        network = train_reader(
            args.steps,
            start=None if old is None else old.network,
            batch_size=args.batch_size,
            seed=args.seed,
            beside=True,
            through=args.through,
            on_step=told,
        )
        earlier = {} if old is None else old.about
        first = {
            "steps": earlier.get("steps", 0) + args.steps,
            "seconds": earlier.get("seconds", 0) + round(time.perf_counter() - begun),
            **{name: earlier[name] for name in ("refine_steps", "refine_seconds") if name in earlier},
        }
        save_reader(network, args.output, {}, first)
    # Between the stages weights are rounded as in the file, so that the second can be run alone.
    trained = load_reader(args.refine or args.output)
    before = {name: trained.about.get(name, 0) for name in ("refine_steps", "refine_seconds")}
    first = {name: trained.about[name] for name in ("steps", "seconds")}
    print("refining", flush=True)
    begun = time.perf_counter()
    network = refine_reader(
        trained.network,
        args.refine_steps,
        batch_size=args.batch_size,
        seed=args.seed,
        beside=True,
        through=args.through,
        on_step=told,
    )
    seconds = time.perf_counter() - begun
    save_reader(network, args.output, {}, first)
    network = load_reader(args.output).network  # what is measured is what is shipped
    accuracy, measured = measure(network, args.shots)
    about = {
        **first,
        "refine_steps": before["refine_steps"] + args.refine_steps,
        "refine_seconds": before["refine_seconds"] + round(seconds),
        "batch_size": args.batch_size,
        "seed": args.seed,
        **measured,
    }
    save_reader(network, args.output, accuracy, about)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB")


def measure(network: ReaderNetwork, shots: int) -> tuple[dict[str, float], dict[str, Any]]:
    """Its accuracy on clean drawings, and what was measured beside it: damaged ones and larger ones; a table too."""
    clean = measure_reader(network, shots)
    damaged = measure_reader(network, max(1, shots // 2), damage=True)
    larger = measure_reader(network, max(1, shots // 4), height=128, width=224)
    print(f"{'':>18}  clean  damaged  224x128")
    for name, share in clean.items():
        print(f"{name:>18}  {share:5.1%}   {damaged[name]:5.1%}    {larger[name]:5.1%}")
    return clean, {
        "measured_on": f"{shots} shots of the split test, 112x64",
        "accuracy_damaged": {name: round(share, 4) for name, share in damaged.items()},
        "accuracy_224x128": {name: round(share, 4) for name, share in larger.items()},
    }


if __name__ == "__main__":
    main()
