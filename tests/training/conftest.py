from __future__ import annotations

from pathlib import Path

import pytest
import toys

from storymem.training.run import train


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that the vae and base stages made, in a few steps."""
    folder = tmp_path_factory.mktemp("stages")
    train(toys.stage(toys.VAE, folder / "vae", "steps=2"))
    train(toys.stage(toys.BASE, folder / "base", f"vae={folder}/vae/vae", "steps=2"))
    return folder / "base" / "model"
