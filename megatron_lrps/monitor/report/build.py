"""``<save>/report/report.html``: a campaign on one page, made from its files alone, which needs nothing but itself."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.data_ledger import totals_of
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.lineage import Facts, chain_of, facts_of, ledger_of
from megatron_lrps.campaign.record import events
from megatron_lrps.campaign.scores import folder_of, read_results
from megatron_lrps.campaign.standing import ENDED, HALF_WAY, standing
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.pictures.axis import ITERATIONS, Axis
from megatron_lrps.monitor.pictures.learning_rate_picture import draw_lr
from megatron_lrps.monitor.pictures.loss_picture import draw_losses, loss_sets
from megatron_lrps.monitor.pictures.tree_picture import draw_tree
from megatron_lrps.monitor.report import html
from megatron_lrps.monitor.report import report_pictures as pictures
from megatron_lrps.monitor.report import sections as parts
from megatron_lrps.monitor.report.pace import LOGGED, pace
from megatron_lrps.monitor.report.sections import Ledger, Material
from megatron_lrps.monitor.scalars import Runs, Series, read_run
from megatron_lrps.monitor.score_table import compared
from megatron_lrps.monitor.tensorboard.printed_figures import Printed, read_printed
from megatron_lrps.monitor.version_table import version_table
from megatron_lrps.plan import Tree
from megatron_lrps.storage.files import write_atomic
from megatron_lrps.storage.ownership import holder
from megatron_lrps.version import __version__

FILE = "report.html"


@dataclass(frozen=True, kw_only=True)
class Written:
    """What a report has left.

    Attributes:
        page: The HTML page.
        pictures: The same pictures beside it, as PNG and SVG.
        missing: What the campaign does not have yet, or has damaged, a sentence each.
    """

    page: Path
    pictures: tuple[Path, ...]
    missing: tuple[str, ...]


def write_report(
    campaign: CampaignFolder,
    trees: Sequence[Tree],
    *,
    folder: Path,
    notes: Sequence[str],
    now: datetime,
    axis: Axis = ITERATIONS,
) -> Written:
    """Make the report of a campaign as it stands: finished, half-way, or not begun.

    Args:
        campaign: Its folder.
        trees: The given plan's, then the accepted plan's.
        folder: Where the page and its pictures go.
        notes: What is wrong with the plan or the accepted one, a sentence each.
        now: For the page to say how old it is.
        axis: What the pictures' axis counts.

    Raises:
        StorageError: where the disk refuses.
    """
    found = gather(campaign, trees, notes=notes, axis=axis)
    branches = [folder / f"tree.{suffix}" for suffix in ("svg", "png")]
    lr = [folder / f"lr-paths.{suffix}" for suffix in ("svg", "png")]
    losses = [folder / f"losses.{suffix}" for suffix in ("svg", "png")]
    trained = {each["name"]: each["end"] - each["iterations_left"] for each in found.stands}
    draw_tree(found.tree, trained, *branches, axis=axis)
    draw_lr(found.tree, list(found.tree.paths), *lr, axis=axis, trained=trained)
    if any(found.runs.values()):
        draw_losses(found.tree, found.runs, *losses, axis=axis)
    else:
        losses = []
    whole = as_html(
        found,
        tree=pictures.tree_picture(found, _content(branches[0])),
        lr=pictures.lr_picture(found, _content(lr[0])),
        losses=pictures.loss_picture(found, _content(losses[0])) if losses else None,
        now=now,
    )
    write_atomic(folder / FILE, whole)
    return Written(page=folder / FILE, pictures=(*branches, *lr, *losses), missing=found.missing)


def _content(svg: Path) -> str:
    return svg.read_text(encoding="utf-8")


def gather(campaign: CampaignFolder, trees: Sequence[Tree], *, notes: Sequence[str], axis: Axis) -> Material:
    """Read all that a report shows; what cannot be read is named among what is missing."""
    tree, missing = trees[0], list(notes)
    facts = {path.name: _facts(campaign, trees, path.name, missing) for path in tree.paths}
    results = {path.name: found for path in tree.paths if (found := _results(campaign, path.name, missing)) is not None}
    stands = [standing(campaign, path, holder(campaign.path(path.name).root)) for path in tree.paths]
    runs, unreadable = _runs(campaign, tree, missing)
    printed = {path.name: _printed(campaign, path.name, missing) for path in tree.paths}
    versions = version_table(tree, campaign, runs=runs)
    ledgers = []
    for row in versions.rows:
        try:
            links = chain_of(campaign, trees, facts[row.path])
            ranges = ledger_of(campaign, trees, facts[row.path], links)
        except RefusedError:  # of a parent's record, which is named among what is missing
            continue
        planned = facts[row.path].record != "read"
        ledgers.append(Ledger(path=row.path, planned=planned, totals=tuple(totals_of(ranges))))
    missing += _missing(campaign, tree, stands, {*unreadable, *(name for name, run in runs.items() if run)}, results)
    return Material(
        tree=tree,
        save=campaign.root,
        facts=facts,
        stands=stands,
        runs=runs,
        printed=printed,
        axis=axis,
        totals=versions.totals,
        compared=compared(versions, results),
        results=results,
        ledgers=ledgers,
        histories={path.name: events(campaign.path(path.name)) for path in tree.paths},
        missing=tuple(dict.fromkeys(each.replace(f"{campaign.root}/", "") for each in missing)),
    )


def _runs(campaign: CampaignFolder, tree: Tree, missing: list[str]) -> tuple[Runs, list[str]]:
    """What was logged, and the paths whose event files cannot be read."""
    wanted = {"lm loss", *loss_sets(tree).values(), *LOGGED}
    runs: dict[str, dict[str, Series]] = {}
    unreadable = []
    for path in tree.paths:
        try:
            runs[path.name] = read_run(campaign.tensorboard(path.name), wanted)
        except RefusedError as error:
            missing.append(f"What {path.name} has logged is left out: {error.what}")
            runs[path.name] = {}
            unreadable.append(path.name)
    return runs, unreadable


def _printed(campaign: CampaignFolder, name: str, missing: list[str]) -> Printed:
    try:
        return read_printed(campaign.path(name).logs)
    except OSError as error:
        missing.append(f"The logs of {name} are left out: {error.filename} cannot be read: {error.strerror}.")
        return Printed()


def _facts(campaign: CampaignFolder, trees: Sequence[Tree], name: str, missing: list[str]) -> Facts:
    try:
        found = facts_of(campaign, trees, name)
    except RefusedError as error:  # a newer lrps has written it
        found = Facts(name=name, record="torn", values={}, notes=(error.what,))
    missing += found.notes if found.record != "not_started" else ()
    return found


def _results(campaign: CampaignFolder, name: str, missing: list[str]) -> dict[str, Any] | None:
    file = folder_of(campaign, name) / "results.json"
    try:
        found = read_results(campaign, name)
    except RefusedError as error:
        missing.append(error.what)
        return None
    if found is None and file.exists():
        missing.append(f"{file} cannot be read: it is torn, or not as lrps writes it.")
    return found


def _missing(
    campaign: CampaignFolder,
    tree: Tree,
    stands: Sequence[Mapping[str, Any]],
    logged: Collection[str],
    scored: Collection[str],
) -> list[str]:
    """What a reader would look for and not find."""
    said = []
    if idle := _names(each for each in stands if each["state"] in ("waiting", "ready")):
        said.append(f"Nothing saved yet: {idle}.")
    if going := [each for each in stands if each["state"] in HALF_WAY]:
        where = (
            f"{each['name']} at {each['saved'] or each['fork']:,} of {each['end']:,}"
            f"{'' if each['state'] == 'in_progress' else ', which nobody trains now'}"
            for each in going
        )
        said.append(f"Half-way: {'; '.join(where)}.")
    if silent := _names(each for each in stands if each["saved"] is not None and each["name"] not in logged):
        said.append(f"Trained, but without TensorBoard files: {silent}.")
    for each in stands:
        if each["torn"]:
            torn = ", ".join(f"{iteration:,}" for iteration in each["torn"])
            said.append(f"{each['name']} has checkpoints that are not whole, and are never used: {torn}.")
    ended = [each for each in stands if each["state"] in ENDED]
    if unscored := _names(each for each in ended if each["version"] and each["name"] not in scored):
        said.append(f"Trained, but not evaluated: {unscored}.")
    folder = campaign.root / "paths"
    named = {path.name for path in tree.paths}
    if folder.is_dir() and (others := sorted({each.name for each in folder.iterdir() if each.is_dir()} - named)):
        said.append(f"On the disk, but not in this plan: {', '.join(others)}.")
    return said


def _names(stands: Iterable[Mapping[str, Any]]) -> str:
    return ", ".join(each["name"] for each in stands)


def as_html(found: Material, *, tree: html.Markup, lr: html.Markup, losses: html.Markup | None, now: datetime) -> str:
    """The page, of its pictures and its numbers."""
    gpus = found.tree.plan.launch.device == "gpu"
    sections = [
        ("state", "Where it stands", parts.state(found, tree)),
        ("lr", "Learning rate", html.join([lr, parts.lr_table(found)])),
        ("losses", "Losses", parts.losses(found, losses)),
        ("pace", "Throughput and gradient norm", pace(found.runs, found.printed, gpus=gpus)),
        ("versions", "Versions and their cost", parts.versions(found)),
        ("data", "Data", parts.data(found)),
        ("scores", "Scores", parts.scores(found)),
        ("releases", "Releases", parts.releases(found)),
        ("events", "Events", parts.happenings(found)),
    ]
    links = html.listing(html.tag("a", heading, href=f"#{name}") for name, heading, _ in sections)
    made = f"Made {now:%Y-%m-%d %H:%M} UTC by lrps {__version__} from the files in {found.save}"
    return html.page(
        f"Campaign {found.tree.plan.campaign}",
        *(html.section(name, heading, inside) for name, heading, inside in sections),
        above=html.join([html.tag("p", f"{made}.", class_="soft"), html.tag("nav", links, aria_label="Sections")]),
        below=html.prose("Its pictures lie beside this page as PNG and SVG. `lrps report PLAN` makes it again."),
    )
