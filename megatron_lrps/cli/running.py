"""``lrps run``, ``lrps status`` and ``lrps tree``: training a campaign here, and where it stands."""

import json
from pathlib import Path
from typing import Any

import typer

from megatron_lrps.monitor.text import table
from megatron_lrps.plan import PlannedPath, Tree, expand, load_plan
from megatron_lrps.plan.data import require_data
from megatron_lrps.plan.flags import path_flags
from megatron_lrps.versions.folder import CampaignFolder, checkpoints_in
from megatron_lrps.versions.lineage import events, state_of
from megatron_lrps.versions.owner import UNKNOWN, Owner, holder


def run_plan(plan_file: Path, path: str | None, *, module: str | None = None) -> None:
    """Train what is missing of a campaign, or of one path, on this machine; returns when it is trained.

    Args:
        plan_file: The plan.
        path: One path's name, or None for all.
        module: What the ranks run instead of ``megatron_lrps.pretrain``.

    Raises:
        LrpsError: whose exit code says how the run ended (75 stopped, 78 refused, 74 storage, else failed).
    """
    # Here, since rich and ctypes are no use to `lrps status`.
    from megatron_lrps.launch.local import TRAINING_MODULE, train, unfinished
    from megatron_lrps.launch.progress import make_display
    from megatron_lrps.versions.epochs import planned_windows, refuse_repeats
    from megatron_lrps.versions.growth import accept

    tree = expand(load_plan(plan_file))
    shown = [tree.path(path)] if path else list(tree.paths)
    for each in shown:
        path_flags(tree, each)  # refuses what could not be launched
    accept(tree)
    missing = unfinished(tree, path)
    if not missing:
        what = f"Path {path} is" if path else f"All {len(shown)} paths of campaign {tree.plan.campaign} are"
        typer.echo(f"{what} trained; there is nothing to do.")
        return
    campaign = CampaignFolder(tree.plan.folder)
    position = {each.name: state_of(campaign, each).saved or each.fork for each in shown}
    windows = planned_windows(tree)
    for each in missing:
        require_data(tree, each, position[each.name])
        refuse_repeats(tree, each, windows, position[each.name])
    # The accepted copy: an edit of the plan while this runs waits for the next `lrps run`.
    train(tree, missing, campaign.plan, make_display(shown, position), module=module or TRAINING_MODULE)


def show_status(plan_file: Path, *, as_json: bool) -> None:
    """Print where every path stands."""
    tree = expand(load_plan(plan_file))
    campaign = CampaignFolder(tree.plan.folder)
    owners = {path.name: holder(campaign.path(path.name).root) for path in tree.paths}
    paths = [_standing(campaign, path) | {"holder": holder_facts(owners[path.name])} for path in tree.paths]
    left = sum(path["iterations_left"] for path in paths)
    if as_json:
        facts = {"campaign": tree.plan.campaign, "save": str(campaign.root), "iterations_left": left, "paths": paths}
        typer.echo(json.dumps(facts, indent=2))
        return
    rows = [
        (
            path["name"],
            _state_text(path),
            "-" if path["saved"] is None else path["saved"],
            path["end"],
            f"{path['last_event']['event']} {path['last_event']['time']}" if path["last_event"] else "-",
        )
        for path in paths
    ]
    typer.echo(table(("path", "state", "saved", "end", "last event"), rows))
    for path in paths:
        if owner := owners[path["name"]]:
            typer.echo(f"\n{path['name']}: being trained by {owner}")
        for iteration in path["torn"]:
            typer.echo(f"\n{path['name']}: checkpoint {iteration} is not whole; it is never used")
    typer.echo(f"\n{left:,} iterations left of {sum(path.iterations for path in tree.paths):,}")


def holder_facts(owner: Owner | None) -> dict[str, Any] | None:
    """Who trains a path now, as ``--json`` gives it; all null where somebody does whose record is not readable."""
    if owner is None:
        return None
    keys = ("host", "pid", "job", "restart", "since")
    return {key: None if owner == UNKNOWN else getattr(owner, key) for key in keys}


def _standing(campaign: CampaignFolder, path: PlannedPath) -> dict[str, Any]:
    """A path's state, as ``lrps status --json`` gives it."""
    folder = campaign.path(path.name)
    state = state_of(campaign, path)
    history = events(folder)
    last = history[-1] if history else None
    if state.done:
        name = "trained"
    elif state.saved is not None or (last and last.get("event") == "started"):
        name = "in_progress"
    else:
        name = "ready" if state.ready else "waiting"
    return {
        "name": path.name,
        "kind": path.kind,
        "version": path.version,
        "parent": path.parent,
        "fork": path.fork,
        "end": path.end,
        "state": name,
        "saved": state.saved,
        "iterations_left": path.end - max(path.fork, state.saved or 0),
        "torn": checkpoints_in(folder.checkpoints)[1],
        "last_event": {"event": last.get("event"), "time": last.get("time")} if last else None,
    }


def _state_text(path: dict[str, Any]) -> str:
    waiting = path["state"] == "waiting"
    return f"waiting for {path['parent']} at {path['fork']}" if waiting else path["state"].replace("_", " ")


def show_tree(plan_file: Path) -> None:
    """Draw the tree of paths: forks, ends, progress, versions."""
    tree = expand(load_plan(plan_file))
    campaign = CampaignFolder(tree.plan.folder)
    typer.echo(f"{tree.plan.campaign}  {campaign.root}")
    for line in _branches(tree, campaign, None, ""):
        typer.echo(line)


def _branches(tree: Tree, campaign: CampaignFolder, parent: str | None, indent: str) -> list[str]:
    lines: list[str] = []
    children = [path for path in tree.paths if path.parent == parent]
    for path in children:
        last = path is children[-1]
        standing = _standing(campaign, path)
        done = path.iterations - standing["iterations_left"]
        version = f"  version {path.version}" if path.version else ""
        lines.append(
            f"{indent}{'`-- ' if last else '|-- '}{path.name}  ({path.fork:,}, {path.end:,}]{version}  "
            f"{_state_text(standing)}, {100 * done // path.iterations}%"
        )
        lines += _branches(tree, campaign, path.name, indent + ("    " if last else "|   "))
    return lines
