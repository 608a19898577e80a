"""Started by torchrun in `test_distributed.py`: one run over all processes, of memory for a model or of a VAE.

torchrun --nproc-per-node N distributed.py MODEL|vae OUTPUT [KEY=VALUE ...]

RANK in an argument is the number of the process: so each can have a disk of its own.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import toys
from torch.distributed.tensor import DTensor

from storymem.errors import StoryMemError
from storymem.training import processes
from storymem.training.run import train


def report_sharding(record: Mapping[str, Any]) -> None:
    """Print whether what is trained is shared out over the processes."""
    parameters = [value for value in gc.get_objects() if isinstance(value, torch.nn.Parameter) and value.requires_grad]
    sharded = [value for value in parameters if isinstance(value, DTensor)]
    whole = all(value.to_local().numel() == value.numel() for value in sharded)
    sys.stdout.write(f"step {record['step']}: sharded {bool(sharded) and not whole}\n")
    if torch.distributed.is_initialized():
        group = torch.distributed.distributed_c10d._get_default_group()
        sys.stdout.write(f"waits {group._get_backend(torch.device('cpu')).options._timeout}\n")


if __name__ == "__main__":
    model, output, *overrides = (text.replace("RANK", os.environ.get("RANK", "0")) for text in sys.argv[1:])
    processes.PATIENCE = 2.0
    text, given = (toys.VAE, ()) if model == "vae" else (toys.MEMORY, (f"model={model}",))
    try:
        train(toys.stage(text, Path(output), *given, *overrides), on_record=report_sharding)
    except StoryMemError as error:  # at once: whoever waits for the others at the end would wait for long
        sys.stderr.write(f"told: {error}\n")
        sys.stderr.flush()
        os._exit(error.exit_code)
