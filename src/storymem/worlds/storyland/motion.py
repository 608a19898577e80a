"""How heroes move: an action and a time give a pose. Pure functions of NumPy arrays, one entry per frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Pose", "pose_of"]

Array = NDArray[np.float64]
_TAU = 2 * np.pi
# As comics do, for a pose of ten pixels is hard to tell from another.
_SIGNS = {
    "run": "bolt",
    "jump": "burst",
    "wave": "hi",
    "dance": "stars",
    "sleep": "zzz",
    "eat": "heart",
    "sing": "note",
    "look": "question",
}


@dataclass(slots=True)
class Pose:
    """A hero's pose over time; lengths in hero heights, angles in degrees, [F] each.

    Arms and legs hang at 0 and swing forward with positive angles. `arm_raised`: the front arm passes before the head.
    `prop` is what a hand holds for the action, if anything; `sign` what floats beside the head and tells it, and
    `dust` whether the feet raise some.
    """

    time: Array
    x: Array = field(init=False)
    lift: Array = field(init=False)
    tilt: Array = field(init=False)
    stretch: Array = field(init=False)
    head_tilt: Array = field(init=False)
    head_y: Array = field(init=False)
    gaze: Array = field(init=False)
    arm_front: Array = field(init=False)
    arm_back: Array = field(init=False)
    leg_front: Array = field(init=False)
    leg_back: Array = field(init=False)
    tail: Array = field(init=False)
    closed: NDArray[np.bool_] = field(init=False)
    mouth_open: NDArray[np.bool_] = field(init=False)
    seated: bool = False
    arm_raised: bool = False
    prop: str | None = None
    sign: str | None = None
    dust: bool = False

    def __post_init__(self) -> None:
        t = self.time
        for name in (
            "x",
            "lift",
            "tilt",
            "head_tilt",
            "head_y",
            "gaze",
            "arm_front",
            "arm_back",
            "leg_front",
            "leg_back",
        ):
            setattr(self, name, np.zeros_like(t))
        self.stretch = 1 + 0.012 * np.sin(_TAU * 0.8 * t)
        self.tail = 8 * np.sin(_TAU * 0.9 * t)
        self.arm_front, self.arm_back = self.arm_front + 12, self.arm_back - 12
        self.closed = ((t + 0.6) % 2.3) < 0.13
        self.mouth_open = np.zeros(t.shape, bool)


def _wave(t: Array, frequency: float, shift: float = 0.0) -> Array:
    return np.sin(_TAU * (frequency * t + shift))


def _stride(p: Pose, frequency: float, legs: float, arms: float, bob: float) -> None:
    t = p.time
    p.leg_front, p.leg_back = legs * _wave(t, frequency), -legs * _wave(t, frequency)
    p.arm_front, p.arm_back = -arms * _wave(t, frequency), arms * _wave(t, frequency)
    p.lift = bob * np.abs(_wave(t, frequency, 0.25))
    p.head_tilt = 2.5 * _wave(t, frequency, 0.1)
    p.tail = 14 * _wave(t, frequency)


def _sit(p: Pose) -> None:
    p.seated = True
    p.leg_front, p.leg_back = 66 + 5 * _wave(p.time, 0.7), 52 - 5 * _wave(p.time, 0.7)
    p.arm_front, p.arm_back = p.arm_front * 0 + 22, p.arm_back * 0 - 24


def _jump(p: Pose) -> None:
    cycle = (p.time * 1.25) % 1.0
    air = np.clip((cycle - 0.18) / 0.64, 0, 1)
    height = 4 * air * (1 - air)
    crouch = np.where((cycle < 0.18) | (cycle > 0.82), 1.0, 0.0)
    ground = np.where(cycle < 0.18, cycle / 0.18, (1 - cycle) / 0.18)
    p.lift = 0.19 * height
    p.stretch = 1 + 0.07 * height - 0.16 * crouch * np.sin(np.pi * np.clip(ground, 0, 1) / 2)
    p.arm_front, p.arm_back = 30 + 115 * height, -30 - 115 * height
    p.leg_front, p.leg_back = 30 * height, -24 * height
    p.mouth_open = height > 0.35
    p.arm_raised = True


def _dance(p: Pose) -> None:
    t = p.time
    beat = _wave(t, 1.25)
    p.tilt, p.head_tilt = 9 * beat, -13 * beat
    p.lift = 0.045 * np.abs(_wave(t, 1.25, 0.25))
    p.arm_front, p.arm_back = 95 + 55 * beat, -95 + 55 * beat
    p.leg_front, p.leg_back = 22 * np.maximum(beat, 0), -22 * np.maximum(-beat, 0)
    p.x = 0.04 * beat
    p.mouth_open = beat > 0.2
    p.arm_raised = True
    p.tail = 24 * beat


def pose_of(action: str, time: Array, phase: float) -> Pose:
    """The pose for an action at `time` seconds [F]; `phase` shifts the movement."""
    t = time + phase
    p = Pose(t, sign=_SIGNS.get(action))
    if action == "walk":
        _stride(p, 1.7, 30, 26, 0.022)
        p.x = 0.5 * time
    elif action == "run":
        _stride(p, 2.6, 52, 62, 0.055)
        p.tilt = p.tilt + 9
        p.x = 1.0 * time
        p.dust = True
    elif action == "jump":
        _jump(p)
    elif action == "wave":
        p.arm_front = 116 + 25 * _wave(t, 2.4)
        p.head_tilt = 4 + 2 * _wave(t, 1.2)
        p.mouth_open = _wave(t, 0.6) > -0.2
        p.arm_raised = True
    elif action == "dance":
        _dance(p)
    elif action == "sit":
        _sit(p)
        p.head_tilt = 4 * _wave(t, 0.6)
    elif action == "sleep":
        _sit(p)
        p.head_tilt = 13 + 2.5 * _wave(t, 0.5)
        p.head_y = 0.015 + 0.01 * _wave(t, 0.5)
        p.closed = np.ones(t.shape, bool)
    elif action == "read":
        p.arm_front, p.arm_back = 62 + 3 * _wave(t, 0.8), -8 + 0 * t
        p.head_tilt = 6 + 2 * _wave(t, 0.5)
        p.gaze = 0.012 * _wave(t, 0.9)
        p.prop = "book"
    elif action == "eat":
        bite = 0.5 + 0.5 * _wave(t, 1.6)
        p.arm_front = 100 + 28 * bite
        p.mouth_open = bite > 0.55
        p.head_y = 0.008 * bite
        p.prop = "apple"
        p.arm_raised = True
    elif action == "sing":
        p.arm_front, p.arm_back = 58 + 14 * _wave(t, 1.0), -58 + 14 * _wave(t, 1.0)
        p.head_tilt = 8 * _wave(t, 0.9)
        p.mouth_open = _wave(t, 1.9) > -0.35
    elif action == "look":
        turn = np.clip(1.5 * _wave(t, 0.75), -1, 1)
        p.gaze = 0.05 * turn - 0.015
        p.head_tilt = 4 * turn
        p.closed = np.zeros(t.shape, bool)
    return p
