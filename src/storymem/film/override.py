"""What a retake, or the choice of another take, says in place of the script."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["Override"]


@dataclass(frozen=True, slots=True)
class Override:
    """What was changed in a shot by retaking it or choosing another take; stronger than the script.

    Attributes:
        seed: in place of the shot's.
        prompt: in place of the shot's, as written.
        retakes: how many seeds were drawn for retakes.
        over: the script's prompt that `prompt` is in place of; while the script says something else there, `prompt`
            waits. None: whatever it says.
    """

    seed: int | None = None
    prompt: str | None = None
    retakes: int = 0
    over: str | None = None

    def prompt_for(self, told: str) -> str:
        """The prompt of a shot of which the script says `told`."""
        return told if self.prompt is None or self.over not in (None, told) else self.prompt

    def of(self, told: str) -> Override:
        """The same, knowing what it is about: until now the script said `told`."""
        return self if self.prompt is None or self.over is not None else replace(self, over=told)
