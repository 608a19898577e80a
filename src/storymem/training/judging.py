"""Judges: what says of a clip that was made how well it shows what it should, so that the model can learn from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from storymem.errors import SettingsError

if TYPE_CHECKING:
    import torch

__all__ = ["Judge", "JudgeFactory", "Judgement", "open_judge", "register_judge"]


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What a judge says of B clips.

    Attributes:
        loss: ``[B]``, lower is better; the gradients of clips that could not be judged are 0.
        right: ``[B]``, the share of what was judged that is as it should be; NaN where nothing was.
        stray: ``[B, h, w]`` bool, of any size, where in the picture something is that should go, at any time of the
            clip; None: nowhere. `reward.keep` does not hold on to that.
    """

    loss: torch.Tensor
    right: torch.Tensor
    stray: torch.Tensor | None = None


class Judge(Protocol):
    """Looks at clips and says whether they are as they should be, in a way that has gradients."""

    @property
    def identity(self) -> str:
        """Changes whenever what it says may."""

    def to(self, device: torch.device) -> Judge:
        """The same on that device."""

    def __call__(self, frames: torch.Tensor, labels: torch.Tensor, setting: torch.Tensor) -> Judgement:
        """Judge clips.

        Args:
            frames: ``[B, 3, F, H, W]`` in about [-1, 1].
            labels: ``[B, N, L]`` int64, what each of N subjects should be seen to be, as in `Subjects`; -1 in a respect
                that is not asked for, and in all of them where there is no such subject.
            setting: ``[B, S]`` int64, where and when each should be seen to be, as in `ClipSource.setting`.
        """


JudgeFactory = Callable[[Mapping[str, Any]], Judge]
"""Makes a judge of options; raises SettingsError for options it does not know."""

_factories: dict[str, JudgeFactory] = {}


def register_judge(name: str, factory: JudgeFactory) -> None:
    """Make the judge of a world known by the name that `data.world` takes."""
    _factories[name] = factory


def open_judge(name: str, options: Mapping[str, Any]) -> Judge:
    """The judge of the world of that name.

    Raises:
        SettingsError: the world has none, or its judge does not know an option.
    """
    if name not in _factories:
        known = ", ".join(sorted(_factories)) or "none here"
        raise SettingsError(f"reward is set, but {name} has no judge; worlds with one: {known}.")
    return _factories[name](options)
