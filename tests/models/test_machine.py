from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import psutil
import pytest
import torch

from storymem.models.catalog import CATALOG
from storymem.models.doctor import Device, Machine, examine, judge, judge_all
from storymem.models.needs import GIB


@pytest.fixture
def machine(home: Path) -> Machine:
    return examine()


def with_gpu(machine: Machine, gpu: float, ram: float) -> Machine:
    device = Device("cuda:0", "a GPU", int(gpu * GIB), int(gpu * GIB))
    return dataclasses.replace(machine, devices=(device,), ram=int(ram * GIB))


def test_this_machine(machine: Machine, home: Path) -> None:
    assert machine.packages["torch"] == torch.__version__
    assert machine.ram == psutil.virtual_memory().total
    assert machine.models == home / "models"
    assert machine.disk_free > 0
    assert machine.codecs["ffv1"]
    assert len(machine.devices) == torch.cuda.device_count()
    json.dumps(machine.as_json())


@pytest.mark.parametrize(
    ("gpu", "ram", "way"),
    [
        (140, 128, "all on the GPU"),
        (40, 128, "one component on the GPU"),
        (24, 64, "one component on the GPU as GGUF Q8_0"),
        (20, 48, "one component on the GPU as GGUF Q4_K"),
        (12, 128, "layer by layer on the GPU"),
        (4, 512, "on the CPU (hours per shot)"),
        (8, 16, None),
    ],
)
def test_the_fastest_way_that_fits(machine: Machine, gpu: float, ram: float, way: str | None) -> None:
    verdict = judge(with_gpu(machine, gpu, ram), CATALOG["wan2.2-i2v-a14b"])
    assert (verdict.best.way if verdict.best else None) == way
    assert verdict.least.gpu > 0


def test_every_model_is_judged(machine: Machine) -> None:
    verdicts = judge_all(machine)
    assert [verdict.entry.name for verdict in verdicts] == list(CATALOG)
    assert [verdict.entry.name for verdict in verdicts if verdict.installed] == [
        "storyland",
        "tiny-random",
    ]
    ours = verdicts[0]
    assert ours.best is not None
    assert ours.room
    json.dumps([verdict.as_json() for verdict in verdicts])
    small = dataclasses.replace(machine, disk_free=10**9)
    assert not judge(small, CATALOG["wan2.2-i2v-a14b"]).room


def test_a_lora_runs_where_its_model_does(machine: Machine) -> None:
    lora, model = CATALOG["storymem-mi2v"], CATALOG["wan2.2-i2v-a14b"]
    for gpu, ram in ((80, 64), (24, 64), (8, 16)):
        here = with_gpu(machine, gpu, ram)
        assert (judge(here, lora).best is None) is (judge(here, model).best is None)
    assert judge(machine, lora).least.ram > judge(machine, model).least.ram
    assert not judge(dataclasses.replace(machine, disk_free=50 * 10**9), lora).room  # for its model there is none
