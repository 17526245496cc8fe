"""Asking the jobs that train paths, and waiting for their answers: ``lrps cut``, ``lrps save`` and ``lrps stop``."""

import time
from pathlib import Path
from typing import Annotated

import typer

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.path_request import Kind, PathRequest, answered, ask, overdue_end, withdraw
from megatron_lrps.campaign.record import events
from megatron_lrps.campaign.stop_deadline import seconds_to_stop
from megatron_lrps.errors import RefusedError, StoppedError
from megatron_lrps.storage.ownership import holder

AskedPath = Annotated[
    str | None, typer.Argument(metavar="PATH", help="One path; by default all that are being trained.")
]
PatienceOption = Annotated[
    float | None,
    typer.Option(
        min=0.0, help="Seconds to wait until a job has saved; by default 1,800, or as long as it may take to stop."
    ),
]
_PATIENCE_S = 1800.0
_LOOKS_S = 120.0
"""The seconds by which a job that cannot stop may be ended later than its time is over."""
_POLL_S = 0.2


def ask_jobs(plan: Path, name: str | None, kind: Kind, patience_s: float | None) -> None:
    """Ask the job of a path, or all jobs of a campaign, to save or to save and stop, and say what they did.

    Args:
        plan: The plan file.
        name: The path; None for all that are being trained.
        kind: ``save`` or ``stop``.
        patience_s: The seconds to wait for each answer; None for ``patience``.

    Raises:
        RefusedError: nobody trains it, its job ended before it saved, or it has not saved in time.
        StoppedError: the ranks were killed, because they made no progress after the request to stop.
    """
    campaign = Campaign.open(plan)
    paths = [campaign.path(name)] if name is not None else campaign.paths
    folders = {path.name: campaign.folder.path(path.name) for path in paths}
    owners = {each: owner for each, folder in folders.items() if (owner := holder(folder.root)) is not None}
    if not owners:
        raise RefusedError(
            f"{f'Path {name}' if name is not None else f'No path of {campaign.plan.campaign}'} is being trained"
            f"{' by nobody' if name is not None else ''}.",
            "see lrps status; a job that waits in Slurm is cancelled by lrps cancel.",
        )
    requests = {each: ask(folders[each], kind, holder=owner.token) for each, owner in owners.items()}
    fix = "look at its log (lrps status says what it does), or give it more time with --wait."
    for each, request in requests.items():
        typer.echo(
            f"{each}: asking {owners[each]} to save{' and stop' if kind == 'stop' else ''} at its next iteration"
        )
        seconds = patience(campaign, folders[each], kind) if patience_s is None else patience_s
        iteration = wait_for_answer(folders[each], request, seconds, fix)
        typer.echo(f"{each}: saved at iteration {iteration:,}" + (", and stops" if kind == "stop" else ""))


def patience(campaign: Campaign, path: PathFolder, kind: Kind) -> float:
    """Return the seconds in which a path's job answers, or is ended because it cannot stop.

    To give up before that would withdraw the request, and with it the end of a job that hangs.
    """
    if kind != "stop":
        return _PATIENCE_S
    launch, history = campaign.plan.launch, events(path)
    given = [launch.local.stop_timeout, launch.slurm.stop_timeout if launch.slurm else launch.local.stop_timeout]
    return max(_PATIENCE_S, *(seconds_to_stop(each, history) + _LOOKS_S for each in given))


def wait_for_answer(path: PathFolder, request: PathRequest, patience_s: float, fix: str) -> int:
    """Return the iteration at which a path's job has saved.

    The request is withdrawn at the end, except one to stop if the job shows no heartbeat any more: whoever has started
    the job ends what is left of it.

    Args:
        path: The path's folder.
        request: The request.
        patience_s: The seconds to wait.
        fix: What to do if that was too short.

    Raises:
        RefusedError: the job ended before it saved, or has not saved in time.
        StoppedError: the job was killed, because it made no progress after a request to stop.
    """
    name, deadline, gone = path.root.name, time.monotonic() + patience_s, False
    try:
        while (iteration := answered(path, request)) is None:
            if holder(path.root) is None:
                if (iteration := answered(path, request)) is not None:  # it answered, and then ended
                    break
                if (end := overdue_end(path, request)) is not None:
                    raise StoppedError(
                        f"{name}'s ranks made no progress for {end.seconds:g} s after the request and were killed at "
                        f"iteration {end.iteration}; {end.lost}.",
                        f"lrps run or lrps submit continues from iteration {end.saved}.",
                    )
                gone = True
                raise RefusedError(f"{name}'s job ended before it saved.", "run the same command again.")
            if time.monotonic() > deadline:
                raise RefusedError(f"{name}'s job has not saved within {patience_s:.0f} s.", fix)
            time.sleep(_POLL_S)
    finally:
        if not gone or request.kind != "stop":
            withdraw(path, request)
    return iteration
