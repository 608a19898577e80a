"""Several takes of one shot: their seeds, and which of them the critic has put into the film."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

__all__ = ["Pick", "shot_seed"]

_SEED_BITS = 53  # every program that reads JSON can hold such a number exactly


def shot_seed(film_seed: int, shot_id: str, number: int = 0) -> int:
    """The seed of a shot that the script gives none: 53 bits of SHA-256, so no two shots share one.

    It depends on nothing but the film's seed, the shot's id and which of its takes it is: other shots may come and go.

    Args:
        film_seed: the film's own.
        shot_id: the shot.
        number: 0 for the first take; takes among which a critic chooses come before those of retakes.
    """
    text = f"storymem seed\n{film_seed}\n{shot_id}\n{number}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> (64 - _SEED_BITS)


@dataclass(frozen=True, slots=True)
class Pick:
    """Which of a shot's takes is in the film, as long as neither the script nor a retake says which seed it has.

    Attributes:
        number: of its seed, see `shot_seed`; a number and no seed, so that it follows the film's.
        of: how many takes it was chosen from.
        by: the name of the critic; None where there was nothing to choose.
    """

    number: int = 0
    of: int = 1
    by: str | None = None

    def why_again(self, takes: int, critic: str | None) -> str:
        """Why this is not the choice that these settings would have made; empty if it is.

        Args:
            takes: how many are wanted to choose from.
            critic: who is asked to.
        """
        if self.of < takes:
            return f"{takes} takes wanted, and chosen from {self.of}"
        if takes > 1 and self.by != critic:
            return f"chosen by the critic {self.by}, and {critic} is asked for"
        return ""
