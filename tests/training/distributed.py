"""Started by torchrun in `test_distributed.py`: one memory run over all processes.

    torchrun --nproc-per-node N distributed.py MODEL OUTPUT [KEY=VALUE ...]
"""

from __future__ import annotations

import sys
from pathlib import Path

import toys
from storymem.training.run import train

if __name__ == "__main__":
    model, output, *overrides = sys.argv[1:]
    train(toys.stage(toys.MEMORY, Path(output), f"model={model}", *overrides))
