"""The command line: thin. It reads options, calls the library and shows its events."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run `storymem`; see `storymem --help`.

    Exit codes: 0 done; 1 the machine failed (disk, memory); 2 the input is wrong, with one sentence that says where and
    what to do; 130 stopped by Ctrl-C.
    """
    try:
        from storymem.cli.app import run

        run()
    except KeyboardInterrupt:  # in the moment before a command has begun
        raise SystemExit(130) from None
