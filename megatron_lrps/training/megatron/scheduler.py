"""Megatron's parameter scheduler, with the learning rate of a path's schedule."""

import json
from argparse import Namespace
from typing import Any, cast

from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

from megatron_lrps.campaign.past import Past, PastPath
from megatron_lrps.errors import RefusedError
from megatron_lrps.schedule import Schedule, hold_for_ever, warmup

SCHEDULE_KEY = "lrps_schedule"


class PathSwitchingScheduler(OptimizerParamScheduler):  # type: ignore[misc]
    """A scheduler that sets every parameter group's LR from the absolute position, and weight decay as stock does.

    Its state is the position (samples) and what identifies the schedule. A checkpoint of stock's constant or
    warm-up phase loads into it, and its own checkpoints load into stock, which finds the values that it would
    have written for the same curve.

    Args:
        optimizer: Any object with ``param_groups``.
        schedule: The path's whole curve, ancestors included.
        args: Megatron's arguments. Start and end of the weight decay must agree, as an increment would depend on the
            path's length.
        end: The path's end, in samples: stock's ``lr_decay_steps``.
    """

    def __init__(self, optimizer: Any, schedule: Schedule, args: Namespace, *, end: int) -> None:
        start_wd, end_wd = args.start_weight_decay, args.end_weight_decay
        if start_wd != end_wd:
            raise RefusedError(
                f"--start-weight-decay {start_wd} and --end-weight-decay {end_wd} differ: the "
                "increment depends on a path's length, so main and branch would disagree.",
                "use one --weight-decay.",
            )
        self.schedule = schedule
        style, wsd_style, wsd_steps = schedule.stock()
        super().__init__(
            optimizer,
            init_lr=args.lr_warmup_init,
            max_lr=args.lr,
            min_lr=args.min_lr,
            lr_warmup_steps=schedule.warmup,
            lr_decay_steps=end,
            lr_decay_style=style,
            start_wd=start_wd,
            end_wd=end_wd,
            wd_incr_steps=end,
            wd_incr_style="constant",
            use_checkpoint_opt_param_scheduler=False,
            override_opt_param_scheduler=False,
            wsd_decay_steps=wsd_steps,
            lr_wsd_decay_style=wsd_style,
        )

    def get_lr(self, param_group: dict[str, Any]) -> float:
        """Return the LR of a parameter group at the current position, between its own ``min_lr`` and ``max_lr``."""
        max_lr = cast(float, param_group.get("max_lr", self.max_lr))
        min_lr = cast(float, param_group.get("min_lr", self.min_lr))
        return self.schedule.lr(self.num_steps, max_lr=max_lr, min_lr=min_lr, init_lr=self.init_lr)

    def state_dict(self) -> dict[str, Any]:
        """Return stock's keys, those that stock forgets, and the schedule; primitives only, loaded weights-only."""
        return {
            **super().state_dict(),
            "init_lr": self.init_lr,
            "wsd_decay_steps": self.wsd_decay_steps,
            "lr_wsd_decay_style": self.lr_wsd_decay_style,
            SCHEDULE_KEY: json.dumps(self.schedule.to_json()),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the position of a checkpoint of this path or of its parent; loading twice changes nothing.

        Raises:
            RefusedError: if the checkpoint was trained with another learning rate or weight decay than
                this path has had up to that position.
        """
        position = int(state_dict["num_steps"])
        here = {key: getattr(self, key) for key in ("max_lr", "min_lr", "start_wd", "end_wd", "init_lr")}
        past = Past(
            values={key: state_dict[key] for key in here if key in state_dict},
            paths={"path": PastPath(schedule=trained_schedule(state_dict), until=position)},
        )
        past.refuse_run(Past(values=here, paths={"path": PastPath(schedule=self.schedule)}), "the checkpoint")
        self.num_steps = position
        self.step(0)


def trained_schedule(state_dict: dict[str, Any]) -> Schedule:
    """Return the schedule that a checkpoint's scheduler state says it was trained with, ours or stock's.

    Raises:
        RefusedError: for a stock checkpoint of a style whose past it does not record.
    """
    if SCHEDULE_KEY in state_dict:
        return Schedule.from_json(json.loads(state_dict[SCHEDULE_KEY]))
    warm = int(state_dict.get("lr_warmup_steps", 0))
    style, position = state_dict.get("lr_decay_style"), int(state_dict["num_steps"])
    if style != "constant" and position > warm:
        raise RefusedError(
            f"The checkpoint was trained by stock Megatron with --lr-decay-style {style}, so it may have decayed "
            "already; a fork point must lie on the maximal path.",
            "fork from a checkpoint that was trained with --lr-decay-style constant.",
        )
    return Schedule((*warmup(warm), *hold_for_ever(warm)))
