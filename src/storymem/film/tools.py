"""What a film is made with: the live objects, and what a film remembers of them."""

from __future__ import annotations

from dataclasses import dataclass

from storymem.film.choosers import DeferredEncoder, DeferredScorer
from storymem.film.maker import ShotMaker
from storymem.film.manifest import ToolFacts
from storymem.memory.encoders import AestheticScorer, FrameEncoder
from storymem.settings import MemoryConfig

__all__ = ["Tools"]


@dataclass(frozen=True)
class Tools:
    """The model that makes shots, and what chooses their keyframes.

    Attributes:
        maker: makes the shots.
        encoder: tells how alike two frames are.
        scorer: tells how good a frame is; None accepts every frame.
    """

    maker: ShotMaker
    encoder: FrameEncoder
    scorer: AestheticScorer | None = None

    def ready(self) -> None:
        """Read what chooses keyframes now, so that what is missing is told before a shot is made for nothing.

        Raises:
            ModelError: its weights are not there or incomplete, or there is not enough memory for them.
        """
        for tool in (self.encoder, self.scorer):
            if isinstance(tool, DeferredEncoder | DeferredScorer):
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
