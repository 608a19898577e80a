from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from storymem.models.checkpoints import load_components

State = dict[str, torch.Tensor]


@pytest.fixture
def original(checkpoint: Path) -> State:
    """The high-noise expert under its original key names."""
    return load_file(checkpoint / "high_noise_model" / "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def experts(checkpoint: Path) -> tuple[torch.nn.Module, torch.nn.Module]:
    parts = load_components(checkpoint, only={"transformer", "transformer_2"})
    return parts.transformer, parts.transformer_2


@pytest.fixture
def transformer(experts: tuple[torch.nn.Module, torch.nn.Module]) -> torch.nn.Module:
    return copy.deepcopy(experts[0])


@pytest.fixture
def lora_folder(checkpoint: Path) -> Path:
    return checkpoint / "StoryMem" / "Wan2.2-MI2V-A14B"


@pytest.fixture
def run() -> Callable[[torch.nn.Module], torch.Tensor]:
    """One forward pass of a transformer of the reference checkpoint's size, on fixed inputs."""

    def run(transformer: torch.nn.Module) -> torch.Tensor:
        generator = torch.Generator().manual_seed(7)
        kind = transformer.patch_embedding.weight.dtype
        with torch.no_grad():
            return transformer(
                hidden_states=torch.randn(1, 36, 2, 6, 8, generator=generator).to(kind),
                timestep=torch.tensor([500.0]),
                encoder_hidden_states=torch.randn(1, 5, 64, generator=generator).to(kind),
                return_dict=False,
            )[0].float()

    return run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A STORYMEM_HOME of the test's own."""
    place = tmp_path / "home"
    monkeypatch.setenv("STORYMEM_HOME", str(place))
    return place
