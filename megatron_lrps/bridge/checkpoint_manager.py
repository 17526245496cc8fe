"""Bridge's checkpoint manager for a followed path: Bridge saves and loads, and the path decides what and when."""

from typing import Any

from megatron.bridge.training.checkpointing import DefaultCheckpointManager

from megatron_lrps.bridge.followed_path import followed


class PathCheckpointManager(DefaultCheckpointManager):  # type: ignore[misc]
    """The manager that ``follow`` names in ``checkpoint.custom_manager_class``.

    Bridge makes it once the ranks are connected and before it builds the model: then they agree on the path's start.

    Args:
        checkpoint_config: Bridge's ``config.checkpoint``; what to load is set on it.

    Raises:
        RefusedError: on every rank, if the run would be wrong.
        SystemExit: with code 0, if the path is trained already.
    """

    def __init__(self, checkpoint_config: Any) -> None:
        self._path = followed()
        self._path.ranks_are_connected()
        super().__init__(checkpoint_config)

    def save(self, ctx: Any, *callbacks: Any) -> None:
        """Save the present iteration, once.

        Args:
            ctx: Bridge's CheckpointSaveContext.
            callbacks: Bridge's callback manager, from release 0.5 on.
        """
        self._path.save(ctx, lambda: super(PathCheckpointManager, self).save(ctx, *callbacks))

    def load(self, ctx: Any) -> tuple[int, int]:
        """Load the checkpoint that the ranks have agreed on.

        Args:
            ctx: Bridge's CheckpointLoadContext.

        Returns:
            (iteration, floating-point operations so far); (0, 0) from scratch.
        """
        return self._path.load(ctx, super().load)

    def finalize_async_saves(self, state: Any, blocking: bool = False, terminate: bool = False) -> None:
        """Let Bridge finish asynchronous saves, and make those count that it has finished.

        Args:
            state: Bridge's GlobalState.
            blocking: Whether to wait for all of them.
            terminate: Whether to end the writer.
        """
        super().finalize_async_saves(state=state, blocking=blocking, terminate=terminate)
        self._path.saves_left(state)
