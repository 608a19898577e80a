"""Train the reader that measures generated shots of Storyland, measure it, and write its weights.

    python tools/train_storyland_reader.py [--steps N] [-o FILE]

Without options it writes the package's own `reader.safetensors`. One thread, so that every run gives the same reader.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from storymem.worlds.storyland.reader_network import ReaderNetwork
from storymem.worlds.storyland.reader_training import measure_reader, save_reader, train_reader

PACKAGE = Path(__file__).parents[1] / "src" / "storymem" / "worlds" / "storyland" / "reader.safetensors"


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=PACKAGE)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch-size", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
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

    network = train_reader(args.steps, batch_size=args.batch_size, seed=args.seed, on_step=told)
    seconds = time.perf_counter() - begun
    # What is measured is what is shipped: weights in half precision.
    network.load_state_dict(
        {name: t.half().float() if t.is_floating_point() else t for name, t in network.state_dict().items()}
    )
    save_reader(network, args.output, {}, {})  # measuring takes minutes too
    accuracy, damaged, larger = measure(network, args.shots)
    about = {
        "steps": args.steps,
        "batch_size": args.batch_size,
        "seed": args.seed,
        "seconds": round(seconds),
        "measured_on": f"{args.shots} shots of the split test, 112x64",
        "accuracy_damaged": {name: round(share, 4) for name, share in damaged.items()},
        "accuracy_224x128": {name: round(share, 4) for name, share in larger.items()},
    }
    save_reader(network, args.output, accuracy, about)
    print(f"{args.output}: {args.output.stat().st_size / 1e6:.2f} MB after {seconds:.0f} s of training")


def measure(network: ReaderNetwork, shots: int) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Its accuracy on clean drawings, on damaged ones, and on larger ones, as a table too."""
    clean = measure_reader(network, shots)
    damaged = measure_reader(network, max(1, shots // 2), damaged=True)
    larger = measure_reader(network, max(1, shots // 4), height=128, width=224)
    print(f"{'':>18}  clean  damaged  224x128")
    for name, share in clean.items():
        print(f"{name:>18}  {share:5.1%}   {damaged[name]:5.1%}    {larger[name]:5.1%}")
    return clean, damaged, larger


if __name__ == "__main__":
    main()
