"""The plugin's argument group, and how a plan becomes Megatron's arguments."""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.past_arguments import ALLOW_DISK
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.campaign.start_point import refuse_missing_weights
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.batch_schedule import BATCH_FLAGS
from megatron_lrps.plan.cpu_flags import CPU_FLAGS
from megatron_lrps.plan.data_files import require_data
from megatron_lrps.plan.flags import OWNED, argument_line, path_flags, refuse_to_train_mean
from megatron_lrps.plan.refused_flags import UNSAFE
from megatron_lrps.schedule import SHAPES
from megatron_lrps.training.cpu import is_installed
from megatron_lrps.training.megatron.refusals import refuse_usage

Parser = argparse.ArgumentParser


def add_arguments(parser: Parser) -> Parser:
    """Add the group ``learning-rate path switching`` to Megatron's parser, which refuses wrong usage in a sentence."""
    refuse_usage(parser)
    group = parser.add_argument_group("learning-rate path switching (Megatron-LRPS)")
    group.add_argument(
        "--lrps-plan", metavar="PLAN", help="The campaign's plan.yaml. With --lrps-path, it is all you need."
    )
    group.add_argument("--lrps-path", metavar="P", help="The path of the plan to train: main, a version or a baseline.")
    group.add_argument(
        "--lrps-until",
        type=int,
        metavar="ITERATION",
        help="With a plan: save after this iteration and exit with code 0, as if the path ended there.",
    )
    group.add_argument(
        "--lrps-fork-iter", type=int, metavar="F", help="Without a plan: the iteration that the branch forks after."
    )
    group.add_argument(
        "--lrps-decay-iters", type=int, metavar="K", help="Without a plan: how many iterations the decay takes."
    )
    group.add_argument(
        "--lrps-decay-shape",
        choices=SHAPES,
        metavar="S",
        help=f"Without a plan: the shape of the decay, one of {', '.join(SHAPES)}.",
    )
    group.add_argument(
        "--lrps-parent",
        metavar="DIR",
        help="Without a plan: the folder of the main path's checkpoints. The default is --load.",
    )
    group.add_argument(
        "--lrps-allow",
        nargs="+",
        metavar="KEY",
        help="Train although these Megatron arguments differ from the checkpoint's; docs/arguments.md says which may. "
        f"With the key {ALLOW_DISK}, train although the saves will not fit on the disk.",
    )
    group.add_argument(
        "--lrps-cpu",
        action="store_true",
        help="Train on the CPU over gloo, for development and tests. It is never chosen for you.",
    )
    return parser


@dataclass(frozen=True, kw_only=True)
class Planned:
    """The part of the plan that this process trains.

    Attributes:
        campaign: The campaign of the plan.
        path: The path that this process trains.
        until: The iteration that it stops after, if that is before the path's end.
    """

    campaign: Campaign
    path: PlannedPath
    until: int | None = None

    @property
    def tree(self) -> Tree:
        """All paths and windows of the plan."""
        return self.campaign.tree


def own_arguments(argv: list[str]) -> argparse.Namespace:
    """Read the plugin's own flags out of a whole command line; raises RefusedError."""
    return add_arguments(Parser(add_help=False, allow_abbrev=False)).parse_known_args(argv)[0]


def planned(own: argparse.Namespace) -> Planned | None:
    """Read the plan and find the path that the flags name; None without a plan.

    Raises:
        RefusedError: if the flags are incomplete, or mix a plan with the flags of a branch without one.
    """
    branch_flags = {
        "--lrps-fork-iter": own.lrps_fork_iter,
        "--lrps-decay-iters": own.lrps_decay_iters,
        "--lrps-decay-shape": own.lrps_decay_shape,
    }
    given = [flag for flag, value in branch_flags.items() if value is not None]
    if own.lrps_plan is None:
        for flag, value in (("--lrps-path", own.lrps_path), ("--lrps-until", own.lrps_until)):
            if value is not None:
                raise RefusedError(f"{flag} {value} is given without a plan.", "add --lrps-plan PLAN.")
        missing = [flag for flag, value in branch_flags.items() if value is None]
        if given and missing:
            raise RefusedError(f"{', '.join(given)} is given without {', '.join(missing)}.", "give all three.")
        if own.lrps_parent is not None and not given:
            raise RefusedError(f"--lrps-parent {own.lrps_parent} is given without a fork.", "add --lrps-fork-iter.")
        return None
    if own.lrps_path is None:
        raise RefusedError("--lrps-plan is given without a path.", "add --lrps-path, e.g. --lrps-path main.")
    if own.lrps_parent is not None:
        given.append("--lrps-parent")
    if given:
        raise RefusedError(f"{', '.join(given)} contradicts --lrps-plan, which decides it.", "drop it.")
    found = planned_path(own.lrps_plan, own.lrps_path)
    path = found.path
    if own.lrps_until is not None and not path.fork < own.lrps_until <= path.end:
        raise RefusedError(
            f"--lrps-until {own.lrps_until} is outside path {path.name}, which trains ({path.fork}, {path.end}].",
            "give one of its iterations, or drop the flag.",
        )
    return replace(found, until=own.lrps_until)


def planned_path(plan: Path | str, name: str) -> Planned:
    """Read a plan and find a path of it that can be trained.

    Raises:
        PlanError: if the plan is wrong, or its data are missing.
        RefusedError: if it has no such path, or Megatron does not train it.
    """
    campaign = Campaign.open(plan)
    path = campaign.path(name)
    refuse_to_train_mean(path)
    require_data(campaign.tree, path, standing_of(campaign, path).saved or 0)
    refuse_missing_weights(campaign, path)
    return Planned(campaign=campaign, path=path)


def require_cpu_backend(own: argparse.Namespace) -> None:
    """Refuse ``--lrps-cpu`` if Megatron was imported before the backend was installed; raises RefusedError."""
    if own.lrps_cpu and not is_installed():
        raise RefusedError(
            "--lrps-cpu is given, but the CPU backend was not installed before Megatron was imported.",
            "start with `python -m megatron_lrps SCRIPT`, or call register(cpu=True) before importing megatron.",
        )


def full_command_line(argv: list[str], own: argparse.Namespace, plan: Planned | None, parser: Parser) -> list[str]:
    """Return the user's command line, with what the plan and the CPU backend add in front of it.

    Args:
        argv: The words that the user gave, without the program's name.
        own: The plugin's flags among them.
        plan: The path that ``planned`` has found.
        parser: Megatron's parser with the plugin's group, which understands both lines. It is left as it is.

    Raises:
        RefusedError: naming a given flag that contradicts the plan, with both values.
    """
    line: list[str] = []
    if plan is not None:
        device = plan.tree.plan.launch.device
        if own.lrps_cpu != (device == "cpu"):
            raise RefusedError(
                f"--lrps-cpu is {'given' if own.lrps_cpu else 'not given'}, but launch.device is {device}.",
                "make them agree: the CPU backend needs both.",
            )
        line = argument_line(path_flags(plan.tree, plan.path))
    elif own.lrps_cpu:
        line = argument_line(dict(CPU_FLAGS))
    if line:
        _refuse_contradictions(argv, line, plan, parser)
    return [*line, *argv]


def _refuse_contradictions(argv: list[str], line: list[str], plan: Planned | None, parser: Parser) -> None:
    given, decided = _explicit(argv, parser), _explicit(line, parser)
    source = "the plan's" if plan else "the CPU backend's"
    for key, (flag, value) in given.items():
        if key in decided and decided[key][1] != value:
            raise RefusedError(
                f"{flag} {_shown(value)} contradicts {source} {_shown(decided[key][1])}.",
                "change it in the plan, or drop the flag." if plan else "drop the flag.",
            )
        name = flag.removeprefix("--")
        if plan and key not in decided and name in OWNED:
            raise RefusedError(f"{flag} {_shown(value)} contradicts the plan's {OWNED[name]}.", "drop the flag.")
        if plan and name in BATCH_FLAGS and key not in decided:
            raise RefusedError(f"{flag} {_shown(value)} contradicts the plan's batches.", "set it under `megatron`.")
        if plan and name in UNSAFE:
            raise RefusedError(f"{flag} is refused: {UNSAFE[name]}.", "drop the flag.")


def _explicit(argv: list[str], parser: Parser) -> dict[str, tuple[str, Any]]:
    """Return the flags given in ``argv``, without defaults: destination -> (flag, parsed value)."""
    written = {item.split("=", 1)[0] for item in argv}
    flags = {action.dest: option for action in parser._actions for option in action.option_strings if option in written}
    # An existing destination gets no default. None if an action adds to what is there.
    absent = object()
    unset = {
        action.dest: None if isinstance(action, argparse._AppendAction) else absent
        for action in parser._actions
        if action.dest != argparse.SUPPRESS
    }
    required = [action for action in parser._actions if action.required]
    try:
        for action in required:
            action.required = False
        namespace, _ = parser.parse_known_args(
            argv, argparse.Namespace(**{**dict.fromkeys(parser._defaults, absent), **unset})
        )
    finally:
        for action in required:
            action.required = True
    return {
        key: (flags.get(key, key), value)
        for key, value in vars(namespace).items()
        if value is not absent and not (value is None and unset.get(key, absent) is None)
    }


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
