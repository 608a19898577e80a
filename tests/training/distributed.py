"""Started by torchrun in `test_distributed.py`: one run over all processes, of memory for a model or of a VAE.

torchrun --nproc-per-node N distributed.py MODEL|vae OUTPUT [KEY=VALUE ...]
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import toys
from torch.distributed.tensor import DTensor

from storymem.training.run import train


def report_sharding(record: Mapping[str, Any]) -> None:
    """Print whether what is trained is shared out over the processes."""
    parameters = [value for value in gc.get_objects() if isinstance(value, torch.nn.Parameter) and value.requires_grad]
    sharded = [value for value in parameters if isinstance(value, DTensor)]
    whole = all(value.to_local().numel() == value.numel() for value in sharded)
    sys.stdout.write(f"step {record['step']}: sharded {bool(sharded) and not whole}\n")


if __name__ == "__main__":
    model, output, *overrides = sys.argv[1:]
    text, given = (toys.VAE, ()) if model == "vae" else (toys.MEMORY, (f"model={model}",))
    train(toys.stage(text, Path(output), *given, *overrides), on_record=report_sharding)
