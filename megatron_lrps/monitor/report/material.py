"""The contents of a campaign's report, read from its files; anything unreadable is listed as missing."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.data_ledger import Total, totals_of
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.lineage import Facts, chain_of, facts_of, ledger_of
from megatron_lrps.campaign.record import events
from megatron_lrps.campaign.standing import HALF_WAY, Standing, standing_of
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.pictures.axis import Axis
from megatron_lrps.monitor.pictures.loss_picture import loss_sets
from megatron_lrps.monitor.printed_figures import SECONDS, THROUGHPUT, Printed
from megatron_lrps.monitor.readable_files import printed_of, results_of
from megatron_lrps.monitor.scalars import Runs, Series, read_run
from megatron_lrps.monitor.score_table import ScoreTable, score_table
from megatron_lrps.monitor.version_costs import ParadigmCost, version_costs
from megatron_lrps.plan import Tree
from megatron_lrps.storage.ownership import holder

NORM = "grad-norm"
LOGGED = (NORM, THROUGHPUT, SECONDS)
"""Tags of the section on throughput and gradient norm."""


@dataclass(frozen=True, kw_only=True)
class DataRead:
    """The data that a path has read with its ancestors.

    Attributes:
        path: The name of the path.
        planned: Nothing is recorded of it, so this is what the plan lets it read.
        totals: The amount that it has read of each index.
    """

    path: str
    planned: bool
    totals: tuple[Total, ...]


@dataclass(frozen=True, kw_only=True)
class Material:
    """The contents of a report.

    Attributes:
        tree: The tree of the given plan.
        save: The campaign's folder.
        facts: Path -> the facts of its record, or of the plan.
        standings: The standing of each path, in the plan's order.
        runs: Path -> tag -> the losses, gradient norms and times that it logged.
        printed: Path -> the figures in its logs.
        axis: The horizontal axis of the pictures.
        totals: The cost of each paradigm.
        scores: The versions with their costs and scores.
        results: Path -> its ``results.json``, if there is one.
        data_read: The data that each version has read.
        histories: Path -> the lines of its events.jsonl.
        missing: Sentences about missing or damaged parts.
    """

    tree: Tree
    save: Path
    facts: Mapping[str, Facts]
    standings: Sequence[Standing]
    runs: Runs
    printed: Mapping[str, Printed]
    axis: Axis
    totals: Sequence[ParadigmCost]
    scores: ScoreTable
    results: Mapping[str, Mapping[str, Any]]
    data_read: Sequence[DataRead]
    histories: Mapping[str, Sequence[Mapping[str, Any]]]
    missing: tuple[str, ...]


def gather(campaign: Campaign, *, notes: Sequence[str], axis: Axis) -> Material:
    """Read the contents of a report; anything unreadable is listed as missing."""
    tree, folder, missing = campaign.tree, campaign.folder, list(notes)
    facts = {path.name: _facts(campaign, path.name, missing) for path in tree.paths}
    results = {path.name: found for path in tree.paths if (found := results_of(folder, path.name, missing)) is not None}
    folders = {path.name: folder.path(path.name) for path in tree.paths}
    standings = [
        standing_of(campaign, path).held_by(folders[path.name], holder(folders[path.name].root)) for path in tree.paths
    ]
    runs, unreadable = _runs(folder, tree, missing)
    printed = {path.name: printed_of(folder, path.name, missing) for path in tree.paths}
    versions = version_costs(campaign, runs=runs)
    data_read = []
    for row in versions.rows:
        try:
            links = chain_of(campaign, facts[row.path])
            ranges = ledger_of(campaign, facts[row.path], links)
        except RefusedError:  # of a parent's record, which is listed as missing
            continue
        planned = facts[row.path].record != "read"
        data_read.append(DataRead(path=row.path, planned=planned, totals=tuple(totals_of(ranges))))
    missing += _missing(folder, tree, standings, {*unreadable, *(name for name, run in runs.items() if run)}, results)
    return Material(
        tree=tree,
        save=folder.root,
        facts=facts,
        standings=standings,
        runs=runs,
        printed=printed,
        axis=axis,
        totals=versions.totals,
        scores=score_table(versions, results),
        results=results,
        data_read=data_read,
        histories={path.name: events(folder.path(path.name)) for path in tree.paths},
        missing=tuple(dict.fromkeys(each.replace(f"{folder.root}/", "") for each in missing)),
    )


def _runs(folder: CampaignFolder, tree: Tree, missing: list[str]) -> tuple[Runs, list[str]]:
    """Return the logged figures, and the paths whose event files cannot be read."""
    wanted = {"lm loss", *loss_sets(tree).values(), *LOGGED}
    runs: dict[str, dict[str, Series]] = {}
    unreadable = []
    for path in tree.paths:
        try:
            runs[path.name] = read_run(folder.tensorboard(path.name), wanted)
        except RefusedError as error:
            missing.append(f"What {path.name} has logged is left out: {error.what}")
            runs[path.name] = {}
            unreadable.append(path.name)
    return runs, unreadable


def _facts(campaign: Campaign, name: str, missing: list[str]) -> Facts:
    try:
        found = facts_of(campaign, name)
    except RefusedError as error:  # a newer lrps has written it
        found = Facts(name=name, record="torn", values={}, notes=(error.what,))
    missing += found.notes if found.record != "not_started" else ()
    return found


def _missing(
    campaign: CampaignFolder,
    tree: Tree,
    standings: Sequence[Standing],
    logged: Collection[str],
    scored: Collection[str],
) -> list[str]:
    """Return sentences on what a reader would miss."""
    said = []
    if idle := _names(each for each in standings if each.state in ("waiting", "ready")):
        said.append(f"Nothing saved yet: {idle}.")
    if going := [each for each in standings if each.state in HALF_WAY]:
        where = (
            f"{each.path.name} at {each.position:,} of {each.path.end:,}"
            f"{'' if each.state == 'in_progress' else ', which nobody trains now'}"
            for each in going
        )
        said.append(f"Half-way: {'; '.join(where)}.")
    if silent := _names(
        each for each in standings if each.saved is not None and not each.path.mean and each.path.name not in logged
    ):
        said.append(f"Trained, but without TensorBoard files: {silent}.")
    for each in standings:
        if each.torn:
            torn = ", ".join(f"{iteration:,}" for iteration in each.torn)
            said.append(f"{each.path.name} has checkpoints that are not whole, and are never used: {torn}.")
    ended = [each for each in standings if each.done]
    if unscored := _names(each for each in ended if each.path.version and each.path.name not in scored):
        said.append(f"Trained, but not evaluated: {unscored}.")
    folder = campaign.root / "paths"
    named = {path.name for path in tree.paths}
    if folder.is_dir() and (others := sorted({each.name for each in folder.iterdir() if each.is_dir()} - named)):
        said.append(f"On the disk, but not in this plan: {', '.join(others)}.")
    return said


def _names(standings: Iterable[Standing]) -> str:
    return ", ".join(each.path.name for each in standings)
