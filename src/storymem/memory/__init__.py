"""What the film remembers: keyframes, the bank that keeps them, and how they are chosen."""

from storymem.memory.bank import FloatArray, Keyframe, MemoryBank, MemoryPolicy, frame_id
from storymem.memory.selection import FrameScores, Selection, drop_repetitions, select_keyframes

__all__ = [
    "FloatArray",
    "FrameScores",
    "Keyframe",
    "MemoryBank",
    "MemoryPolicy",
    "Selection",
    "drop_repetitions",
    "frame_id",
    "select_keyframes",
]
