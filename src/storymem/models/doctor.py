"""What this machine has, and which models it can run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from storymem.models.catalog import CATALOG, ModelEntry, sampling_for
from storymem.models.needs import Need, needs_of
from storymem.models.store import models_folder, read_lock
from storymem.settings import SamplingConfig

__all__ = ["Device", "Machine", "Verdict", "examine", "judge", "judge_all"]

_PACKAGES = ("storymem", "torch", "diffusers", "transformers", "accelerate", "av", "huggingface_hub", "safetensors")
# Optional package → what it is for.
_EXTRAS = {
    "gguf": "GGUF transformers (extra: gguf)",
    "peft": "LoRAs beside the weights, on GGUF (extra: gguf)",
    "opentimelineio": "timelines for editors (extra: timeline)",
    "flash_attn": "attention backend flash",
    "sageattention": "attention backend sage",
    "xformers": "attention backend xformers",
}
_CODECS = {"libx264": "the film as MP4", "ffv1": "lossless clips", "aac": "sound"}


@dataclass(frozen=True, slots=True)
class Device:
    """Something to compute on: ``cuda:0`` and so on, or ``mps``; `memory` in bytes, `free` of them unused."""

    name: str
    title: str
    memory: int
    free: int


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found on this machine.

    Attributes:
        system: operating system and processor.
        python: version.
        packages: package → version, or None if it is not installed.
        extras: optional package → version, or None.
        devices: accelerators.
        cpu_threads: threads PyTorch uses.
        ram: bytes of main memory.
        ram_free: bytes of it that can be had.
        models: folder of downloaded models.
        disk_free: bytes free there.
        codecs: encoder → whether PyAV has it.
    """

    system: str
    python: str
    packages: dict[str, str | None]
    extras: dict[str, str | None]
    devices: tuple[Device, ...]
    cpu_threads: int
    ram: int
    ram_free: int
    models: Path
    disk_free: int
    codecs: dict[str, bool]

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {**asdict(self), "models": str(self.models)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether and how this machine can run a model.

    Attributes:
        entry: the model.
        installed: whether it is downloaded.
        best: the fastest way whose needs this machine meets; None if there is none.
        least: the way that asks for the least GPU memory, for a machine that meets none.
        room: whether there is disk space for what is still to be downloaded, the model that a LoRA goes on included.
    """

    entry: ModelEntry
    installed: bool
    best: Need | None
    least: Need
    room: bool

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "model": self.entry.name,
            "installed": self.installed,
            "best": None if self.best is None else asdict(self.best),
            "least": asdict(self.least),
            "room": self.room,
            "download_bytes": int(self.entry.download_gb * 1e9),
        }


def examine() -> Machine:
    """Look at this machine. Imports torch."""
    import av
    import psutil
    import torch

    memory = psutil.virtual_memory()
    place = models_folder()
    exists = place
    while not exists.exists():
        exists = exists.parent
    return Machine(
        system=f"{platform.system()} {platform.release()}, {platform.machine()}",
        python=sys.version.split()[0],
        packages={name: _version(name) for name in _PACKAGES},
        extras={name: _version(name) for name in _EXTRAS},
        devices=_devices(),
        cpu_threads=torch.get_num_threads(),
        ram=int(memory.total),
        ram_free=int(memory.available),
        models=place,
        disk_free=shutil.disk_usage(exists).free,
        codecs={name: name in av.codecs_available for name in _CODECS},
    )


def _version(name: str) -> str | None:
    # Asked of the installation, not of the import: importing some of these takes seconds.
    try:
        return importlib.metadata.version(name.replace("_", "-"))
    except importlib.metadata.PackageNotFoundError:
        return "unknown" if importlib.util.find_spec(name) is not None else None


def _devices() -> tuple[Device, ...]:
    import torch

    found = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            found.append(Device(f"cuda:{index}", torch.cuda.get_device_name(index), total, free))
    if torch.backends.mps.is_available():
        total = torch.mps.recommended_max_memory()
        found.append(Device("mps", "Apple GPU", total, total - torch.mps.driver_allocated_memory()))
    return tuple(found)


def judge(machine: Machine, item: ModelEntry, sampling: SamplingConfig | None = None) -> Verdict:
    """Whether a machine can run a model, and how. Counts memory that is there, not what is free at the moment.

    Args:
        machine: from `examine`.
        item: of the catalogue.
        sampling: size and length of a shot; None: what the model was made for.
    """
    needs = needs_of(item, sampling or sampling_for(item))
    parts = [item, *([CATALOG[item.base]] if item.base else [])]  # a LoRA is of no use without its model
    missing = sum(part.download_gb for part in parts if not _is_installed(part))
    gpu = max((device.memory for device in machine.devices), default=0)
    fitting = [need for need in needs if need.gpu <= gpu and need.ram <= machine.ram]
    return Verdict(
        entry=item,
        installed=_is_installed(item),
        best=fitting[0] if fitting else None,
        least=min((need for need in needs if need.gpu), key=lambda need: need.gpu, default=needs[-1]),
        room=machine.disk_free >= missing * 1e9,
    )


def _is_installed(item: ModelEntry) -> bool:
    return item.repo is None or read_lock(item) is not None


def judge_all(machine: Machine) -> list[Verdict]:
    """`judge` for every entry of the catalogue."""
    return [judge(machine, item) for item in CATALOG.values()]
