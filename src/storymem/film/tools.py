"""What a film is made with: the live objects, and what a film remembers of them."""

from __future__ import annotations

from dataclasses import dataclass

from storymem.film.choosers import DeferredCritic, DeferredEncoder, DeferredScorer
from storymem.film.critics import Critic
from storymem.film.maker import ShotMaker
from storymem.film.manifest import ToolFacts
from storymem.memory.encoders import AestheticScorer, FrameEncoder
from storymem.settings import MemoryConfig

__all__ = ["Tools"]


@dataclass(frozen=True)
class Tools:
    """The model that makes shots, and what chooses their keyframes and takes.

    Attributes:
        maker: makes the shots.
        encoder: tells how alike two frames are.
        scorer: tells how good a frame is; None accepts every frame.
        critic: tells which of several takes of a shot is best; None takes the first.
    """

    maker: ShotMaker
    encoder: FrameEncoder
    scorer: AestheticScorer | None = None
    critic: Critic | None = None

    def ready(self) -> None:
        """Read what chooses keyframes and takes now, so that what is missing is told before a shot is made for nothing.

        Raises:
            ModelError: its weights are not there or incomplete, or there is not enough memory for them.
        """
        for tool in (self.encoder, self.scorer, self.critic):
            if isinstance(tool, DeferredEncoder | DeferredScorer | DeferredCritic):
                tool.ready()

    def facts(self, memory: MemoryConfig) -> ToolFacts:
        """What the takes of a film with these memory settings depend on."""
        threshold = None
        if self.scorer is not None:
            threshold = memory.quality_threshold
            if threshold is None:
                threshold = self.scorer.default_threshold
        return ToolFacts(
            model=self.maker.identity,
            encoder=self.encoder.identity,
            scorer=None if self.scorer is None else self.scorer.identity,
            quality_threshold=None if threshold is None else float(threshold),
            description=dict(self.maker.description),
        )
