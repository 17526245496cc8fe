"""W&B: Megatron starts its run and writes its figures; a path's run gets a group, an id that stays, and no secrets."""

import contextlib
import os
import sys
from argparse import Namespace
from pathlib import Path

from megatron_lrps.training.path_to_train import PathToTrain
from megatron_lrps.training.trackers.tracked_run import settings_without_secrets, tracked_run


def is_writer(args: Namespace) -> bool:
    """Whether this rank starts a run of W&B, as the last one does."""
    return bool(getattr(args, "wandb_project", None)) and args.rank == args.world_size - 1


def arguments_of_run(path: PathToTrain, args: Namespace) -> Namespace:
    """Return the arguments for Megatron's start of W&B, and set W&B's environment for it.

    Megatron gives W&B all that they hold as the run's configuration. A group of the environment stays.
    """
    run = tracked_run(path)
    os.environ.setdefault("WANDB_RUN_GROUP", run.group)
    os.environ["WANDB_RUN_ID"] = run.id
    os.environ["WANDB_RESUME"] = "allow"
    name = run.name if not args.wandb_exp_name else f"{args.wandb_exp_name} {run.name}"
    facts = {f"lrps_{key}": value for key, value in run.facts.items()}
    settings = settings_without_secrets(args)
    needed = {"wandb_exp_name": name, "wandb_save_dir": args.wandb_save_dir, "wandb_entity": args.wandb_entity}
    # Megatron reads the file that this one names, and gives W&B what stands in it.
    kitchen = {"kitchen_config_file": getattr(args, "kitchen_config_file", None)}
    return Namespace(**{**settings, **needed, **kitchen, **facts})


def artifact_name(path: PathToTrain, checkpoints: Path) -> str | None:
    """Return the name of the artifact for a folder of checkpoints; None if it is not of the campaign.

    Megatron's own name is that of the folder, which is the same for all paths of all campaigns.
    """
    if path.planned is None or checkpoints.name != path.own.name:
        return None
    name = checkpoints.absolute().parent.name
    if name not in {each.name for each in path.planned.tree.paths}:
        return None
    return f"{path.planned.tree.plan.campaign}-{name}"


def alert(title: str, text: str) -> None:
    """Send an alert of W&B, if this process has a run of it. A failure is W&B's to log."""
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        with contextlib.suppress(Exception):
            wandb.alert(title=title, text=text, level=wandb.AlertLevel.WARN)
