"""A hero as layers: parts hung on one another and moved by a pose. Lengths are in hero heights (320 texels)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from storymem.worlds.storyland.heroes import Hero
from storymem.worlds.storyland.layers import Layer, colours, move, place, tints, turn
from storymem.worlds.storyland.motion import Pose
from storymem.worlds.storyland.palette import PALETTE

__all__ = ["head_height", "hero_layers"]

Array = NDArray[np.float64]
Frames = NDArray[np.bool_]
_UNIT = 320.0
_HEAD = 1.2  # times as large as drawn, with what is worn on them: hats must be told apart in small pictures
_LIFT = 54 * _HEAD  # of the middle of the head above the neck, in units of the atlas

# Half width, height and length of the legs of each build, as the bodies are drawn.
_BUILDS = {"little": (45.0, 80.0, 40.0), "tall": (44.0, 126.0, 64.0), "round": (68.0, 104.0, 42.0)}
_LEG = 60.0  # as drawn
_SINK = 0.62  # how much of the legs' length a hero sinks to sit
_TAILLESS = ("frog", "owl")
# Where a hat sits on each head, from the head's middle, and its scale.
_HATS = {
    "fox": (0, -54, 0.98),
    "bear": (0, -58, 1.0),
    "cat": (0, -52, 0.98),
    "rabbit": (0, -54, 0.92),
    "frog": (0, -83, 0.68),
    "owl": (0, -56, 0.94),
    "mouse": (0, -48, 0.82),
    "dog": (0, -58, 0.94),
    "pig": (0, -54, 0.94),
    "penguin": (0, -60, 0.94),
}
_EYES = {"frog": -54.0, "owl": -6.0, "mouse": -6.0, "pig": -16.0}  # height of the eyes; -12 for the rest
# How far the arm is lifted that holds something, in degrees.
_CARRY = {"umbrella": 112.0, "lantern": 62.0, "balloon": 64.0}
_SIGN_X, _SIGN_Y = 0.46, -0.14  # where a sign floats, from the middle of the head
_FEATURES = 5.0  # the face is drawn a little to the right


def _colour(name: str, light: tuple[float, float, float]) -> Array:
    t = PALETTE[name]
    return tints(np.array([t.main, t.second, t.ink]).T / 255.0, light)


def head_height(hero: Hero, *, seated: bool = False) -> float:
    """How high the middle of the head is above the ground, in hero heights."""
    _, body, leg = _BUILDS[hero.build]
    return ((0 if not seated else -leg * _SINK) + leg + body + _LIFT) / _UNIT


def hero_layers(
    hero: Hero, pose: Pose, stage: Array, ground: Array, light: tuple[float, float, float], index: int
) -> list[Layer]:
    """The layers of one hero, from back to front.

    Args:
        hero: the looks.
        pose: how it moves.
        stage: [F, 3, 3] from hero heights (y downwards, the feet at (0, 0), facing right) to pixels.
        ground: the same for the shadow, which stays on the ground.
        light: factor on all colours.
        index: which actor it is.
    """
    puppet = _Puppet(hero, pose, stage, light, index)
    puppet.add(
        "prop/shadow",
        ground @ place(pose.x, 0.0, 5.5 * (puppet.half_width + 0.12) * (1 - 0.9 * pose.lift), 1 - 0.9 * pose.lift),
        tints(np.array([[0.16] * 3, [0.12] * 3, [0.22] * 3]), (1, 1, 1), opacity=0.34),
        "shadow",
    )
    puppet.on_the_ground(ground)
    puppet.behind()
    puppet.trunk()
    puppet.head_and_face()
    puppet.in_front()
    puppet.sign(stage)
    return puppet.layers


class _Puppet:
    """The joints of a posed hero, and the layers hung on them so far; all joints are [F, 3, 3]."""

    def __init__(self, hero: Hero, pose: Pose, stage: Array, light: tuple[float, float, float], index: int) -> None:
        self.hero, self.pose, self.light, self.index = hero, pose, light, index
        self.layers: list[Layer] = []
        self.half_width, self.height, self.leg = (v / _UNIT for v in _BUILDS[hero.build])
        self.fur = self.tinted(hero.colour)
        root = stage @ move(pose.x, -pose.lift) @ turn(pose.tilt) @ place(0.0, 0.0, 2 - pose.stretch, pose.stretch)
        self.hip = root @ move(0.0, (self.leg * _SINK if pose.seated else 0.0) - self.leg)
        self.neck = self.hip @ move(0.0, -self.height)
        self.head = self.neck @ move(0.004, pose.head_y) @ turn(pose.head_tilt) @ place(0.0, -_LIFT / _UNIT, _HEAD)
        self.face = self.head @ move(pose.gaze, 0.0)
        carrying = hero.accessory in _CARRY
        swing = pose.arm_back * 0 - _CARRY[hero.accessory] if carrying and hero.accessory else pose.arm_back
        self.arm_back = self.neck @ move(-self.half_width * 0.74, 0.085) @ turn(-swing)
        self.arm_front = self.neck @ move(self.half_width * 0.74, 0.085) @ turn(-pose.arm_front)
        self.arm = place(0.0, 0.0, 1.0, 0.96 if hero.build == "little" else 1.14)
        # What is held hangs or stands upright, wherever the hand is.
        self.scale = np.sqrt(np.abs(np.linalg.det(stage[:, :2, :2])))
        self.flip = np.sign(stage[:, 0, 0])
        self.hand_back = self.upright(self.arm_back @ move(0.0, 70 / _UNIT))

    def add(self, sprite: str, matrix: Array, colour: Array, what: str, visible: Frames | None = None) -> None:
        if visible is None or visible.any():
            self.layers.append(Layer(sprite, matrix[:, :2], colour, visible, (self.index, what)))

    def tinted(self, colour: str | None) -> Array:
        assert colour is not None
        return _colour(colour, self.light)

    def upright(self, matrix: Array) -> Array:
        """At the place of `matrix`, but neither turned nor squashed."""
        return place(matrix[:, 0, 2], matrix[:, 1, 2], self.scale * self.flip, self.scale)

    def behind(self) -> None:
        """What is behind the body: cape, tail, what the far hand holds, and its arm."""
        hero, pose = self.hero, self.pose
        if hero.accessory == "lantern":
            dark = 1 - min(self.light[0], 1.0)
            glow = tints(np.diag([1.0, 0.8, 0.45]), (1, 1, 1), opacity=0.25 + 1.1 * dark, adds=True)
            self.add("prop/glow", self.hand_back @ move(0.0, 0.16) @ place(0, 0, 1.5), glow, "light")
        if hero.neckwear == "cape":
            spread = place(0.0, 0.02, 0.55 + self.half_width * 3.0, 0.62 + self.height * 1.3)
            cape = self.neck @ turn(0.25 * pose.tail + 3) @ spread
            self.add("neck/cape", cape, self.tinted(hero.neckwear_colour), "neckwear")
        if hero.species not in _TAILLESS:
            tail = self.hip @ move(-self.half_width * 0.72, -0.02) @ turn(pose.tail)
            self.add(f"tail/{hero.species}", tail, self.fur, "tail")
        if hero.accessory == "umbrella":
            self.add("accessory/umbrella", self.hand_back @ turn(16.0), self.tinted(hero.accessory_colour), "accessory")
        elif hero.accessory == "balloon":
            sway = turn(2 * np.sin(3 * pose.time))
            self.add("accessory/balloon", self.hand_back @ sway, self.tinted(hero.accessory_colour), "accessory")
        self.add("arm", self.arm_back @ self.arm, self.fur, "arm")

    def trunk(self) -> None:
        """Legs and body, and what hangs before it."""
        hero, pose, w = self.hero, self.pose, self.half_width
        if not pose.seated:
            self._legs(0.0, 0.44)
        self.add(f"body/{hero.build}/{hero.pattern}", self.hip, self.fur, "body")
        if pose.seated:
            self._legs(-0.05, 0.46)
        if hero.accessory == "bag":
            hung = self.neck @ place(0.0, 0.03, 0.95 + w * 2.2, 0.75 + self.height)
            self.add("accessory/bag", hung, self.tinted(hero.accessory_colour), "accessory")
        elif hero.accessory == "lantern":
            assert hero.accessory_colour
            shining = _colour(hero.accessory_colour, (1.0, 1.0, 1.0))
            self.add("accessory/lantern", self.hand_back @ place(0.0, 0.0, 1.35), shining, "accessory")
        if pose.prop == "book":
            book = self.neck @ move(0.11, 0.19) @ turn(4 * np.sin(1.7 * pose.time))
            self.add("prop/book", book, colours(self.light), "prop")
        if not pose.arm_raised:
            self.add("arm", self.arm_front @ self.arm, self.fur, "arm")

    def _legs(self, y: float, apart: float) -> None:
        limb = place(0.0, 0.0, 1.16 if self.hero.build == "round" else 1.0, self.leg * _UNIT / _LEG)
        for side, swing in ((-1, self.pose.leg_back), (1, self.pose.leg_front)):
            hip = self.hip @ move(side * self.half_width * apart, y)
            self.add("leg", hip @ turn(-swing) @ limb, self.fur, "leg")

    def head_and_face(self) -> None:
        """The head and everything worn on it or under it."""
        hero, pose = self.hero, self.pose
        self.add(f"head/{hero.species}/{hero.pattern}", self.head, self.fur, "head")
        awake, song = ~pose.closed, pose.mouth_open
        for kind, when in (("closed", pose.closed), ("song", song & awake), ("open", ~song & awake)):
            self.add(f"face/{hero.species}/{kind}", self.face, colours(self.light), "face", when)
        if hero.neckwear is not None:
            sprite = "collar" if hero.neckwear == "cape" else f"neck/{hero.neckwear}"
            wide, tall = (1.5, 1.4) if hero.neckwear == "bow tie" else (0.62 + self.half_width * 2.2, 1.0)
            self.add(sprite, self.neck @ place(0.0, 0.052, wide, tall), self.tinted(hero.neckwear_colour), "neckwear")
        if hero.accessory == "glasses":
            worn = self.face @ move(_FEATURES / _UNIT, _EYES.get(hero.species, -12.0) / _UNIT)
            self.add("accessory/glasses", worn, self.tinted(hero.accessory_colour), "accessory")
        if hero.hat is not None:
            x, y, size = _HATS[hero.species]
            size *= 1.3 if hero.hat == "bow" else 1.0
            hat = self.head @ place(x / _UNIT, y / _UNIT, size)
            self.add(f"hat/{hero.hat}", hat, self.tinted(hero.hat_colour), "hat")

    def in_front(self) -> None:
        """A raised arm, and what belongs to the action."""
        pose = self.pose
        if pose.arm_raised:
            self.add("arm", self.arm_front @ self.arm, self.fur, "arm")
        if pose.prop == "apple":
            apple = self.arm_front @ move(0.0, 0.225) @ turn(pose.arm_front)
            self.add("prop/apple", apple, colours(self.light), "prop")

    def on_the_ground(self, ground: Array) -> None:
        """What somebody sits on, or has stirred up."""
        pose = self.pose
        if pose.seated:
            size = 0.5 + self.half_width * 2.6
            self.add("sign/cushion", ground @ place(pose.x, -0.01, size, 0.9), colours(self.light), "prop")
        if pose.dust:
            grown = 1.3 + 0.12 * np.sin(9 * pose.time)
            at = ground @ place(pose.x - self.half_width * 1.1, 0.0, grown, grown)
            self.add("sign/puffs", at, colours(self.light), "prop")

    def sign(self, stage: Array) -> None:
        """Right of the head whichever way a hero faces, beside the hat mostly; it does not jump with the hero."""
        pose = self.pose
        if pose.sign is None:
            return
        head = stage @ move(pose.x, -head_height(self.hero, seated=pose.seated))
        at = place(head[:, 0, 2], head[:, 1, 2], self.scale, self.scale)
        sway = turn(5 * np.sin(4 * pose.time))
        beside = move(_SIGN_X, _SIGN_Y + 0.012 * np.sin(5 * pose.time))
        self.add(f"sign/{pose.sign}", at @ beside @ sway, colours(), "prop")
