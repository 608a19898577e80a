"""Critics: of several takes of one shot, the one that they like best goes into the film.

Which of them can be had is a matter of what is made: whoever knows a world, such as `storymem.worlds.storyland`, brings
one along and registers it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from storymem.errors import SettingsError

if TYPE_CHECKING:
    from storymem.memory.bank import FloatArray

__all__ = ["NO_CRITIC", "Critic", "critic_named", "register_critic"]

NO_CRITIC = "none"
"""The name of nobody: the first take goes into the film, and its makers choose among the others themselves."""


class Critic(Protocol):
    """Says how good a take is."""

    def score(
        self, frames: FloatArray, *, prompt: str, characters: Sequence[str] | None, pictures: Sequence[FloatArray]
    ) -> float:
        """How good a take is: the more, the better. Scores of takes of different shots say nothing together.

        Args:
            frames: ``[F, 3, H, W]``, float32 in [-1, 1].
            prompt: of the shot, with the cast woven in.
            characters: names of those of the cast whom the shot shows; None where the script names nobody, so that
                "she" may be anybody.
            pictures: ``[3, H, W]`` each, likewise, what the shot saw of the memory: of any size, and perhaps none.
        """


_KNOWN: dict[str, Callable[[], Critic]] = {}


def register_critic(name: str, load: Callable[[], Critic]) -> None:
    """Make a critic known.

    Args:
        name: what it is called in settings.
        load: makes it; called when the first take is to be judged.
    """
    _KNOWN[name] = load


def critic_named(name: str) -> Callable[[], Critic] | None:
    """What makes the critic of this name; None for `NO_CRITIC`.

    Raises:
        SettingsError: nobody has that name.
    """
    if name != NO_CRITIC and name not in _KNOWN:
        raise SettingsError(f"The critic is {name!r}; it must be one of {', '.join([NO_CRITIC, *sorted(_KNOWN)])}.")
    return _KNOWN.get(name)
