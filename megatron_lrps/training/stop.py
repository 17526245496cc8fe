"""The reason for a stop before a path's end, and the exit code that tells its launcher whether to start it again."""

from dataclasses import dataclass
from typing import Literal, Self

from megatron_lrps.errors import EXIT_CONTINUE, EXIT_DONE

Reason = Literal["until", "request", "signal", "interval", "duration"]


@dataclass(frozen=True)
class Stop:
    """A stop before the end of the path.

    Attributes:
        reason: ``until`` at the end of a part, ``request`` (``lrps stop``), ``signal``, ``interval`` (Megatron's
            ``--exit-interval``) or ``duration`` (Megatron's ``--exit-duration-in-mins``).
        iteration: The last iteration that was trained.
    """

    reason: Reason
    iteration: int

    @classmethod
    def at(cls, iteration: int, *, until: int, requested: bool, signalled: bool, interval: int | None) -> Self:
        """Find the reason for a stop.

        Args:
            iteration: The last iteration that was trained.
            until: The iteration that this process was to stop after.
            requested: Whether the path's job was asked to stop.
            signalled: Whether a rank got the exit signal.
            interval: Megatron's ``--exit-interval``.
        """
        if iteration == until:
            return cls("until", iteration)
        if requested:
            return cls("request", iteration)
        if signalled:
            return cls("signal", iteration)
        return cls("interval" if interval and iteration % interval == 0 else "duration", iteration)

    @property
    def exit_code(self) -> int:
        """The exit code, 0 at the end of a part, else 75: the same command continues the path."""
        return EXIT_DONE if self.reason == "until" else EXIT_CONTINUE
