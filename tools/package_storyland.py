"""Put a trained Storyland model into the package, where `storymem generate` finds it by name.

    python tools/package_storyland.py runs/storyland/judged/model

Weights are rounded to bfloat16; what a folder says of the machine it was written on is left out. Measure the result by
`python benchmarks/storyland.py` before it is committed: every version stays in the repository's history.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch

from storymem.models.checkpoints import load_components
from storymem.training.output import save_model

PACKAGED = Path(__file__).parents[1] / "src" / "storymem" / "models" / "packaged"
LIMIT = 40e6
"""Bytes that a folder may have."""


def package_model(source: Path, target: Path = PACKAGED / "storyland") -> int:
    """Write the model's folder; its size in bytes.

    Raises:
        SystemExit: it is too large.
    """
    parts = load_components(source, dtype=torch.bfloat16)
    assert parts.vae is not None
    assert parts.text_encoder is not None
    save_model(
        target,
        transformer=parts.transformer,
        transformer_2=parts.transformer_2,
        vae=parts.vae.to(torch.bfloat16),
        text_encoder=parts.text_encoder.to(torch.bfloat16),
        tokenizer=parts.tokenizer,
        boundary_ratio=parts.boundary_ratio,
    )
    for path in target.rglob("*.json"):
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict) and data.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    return _checked(target)


def _checked(target: Path) -> int:
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    if size > LIMIT:
        sys.exit(f"{target} has {size / 1e6:.1f} MB; at most {LIMIT / 1e6:.0f} may be shipped.")
    return size


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="OUTPUT/model of a training run, or another diffusers folder")
    args = parser.parse_args()
    print(f"{package_model(args.source) / 1e6:.1f} MB in {PACKAGED}")
