"""The callback by which Bridge's loop tells a followed path what happens."""

from typing import Any

from megatron_lrps.bridge.followed_path import FollowedPath


class PathCallback:
    """A callback of Bridge's, by the names of its events; events that a release lacks are never called.

    Args:
        path: The followed path.
    """

    def __init__(self, path: FollowedPath) -> None:
        self._path = path
        self._evaluated = 0

    def on_train_start(self, context: Any) -> None:
        """Take the scheduler if nothing was loaded, and the loop's signals."""
        self._path.training_begins(context.state, context.scheduler)

    def on_train_step_end(self, context: Any) -> None:
        """Judge the figures of an iteration, which the loop has not counted yet."""
        self._path.iteration_ended(
            context.state.train_state.step + 1, context.loss_dict or {}, context.grad_norm, bool(context.skipped_iter)
        )

    def on_checkpoint_save(self, context: Any) -> None:
        """Make the oldest finished save count before other callbacks hear of it."""
        self._path.save_finished()

    def on_eval_start(self, context: Any) -> None:
        """Say that an evaluation begins."""
        self._evaluated = 0
        self._path.tell("evaluating", done=0, total=context.state.cfg.validation.eval_iters)

    def on_eval_step_end(self, context: Any) -> None:
        """Count an iteration of an evaluation."""
        self._evaluated += 1
        self._path.tell("evaluating", done=self._evaluated, total=context.state.cfg.validation.eval_iters)

    def on_eval_end(self, context: Any) -> None:
        """Say that training goes on."""
        self._path.tell("training")
