"""``<save>/report/report.html``: a campaign on one page, made from its files alone, which needs nothing but itself."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.monitor.pictures.axis import ITERATIONS, Axis
from megatron_lrps.monitor.pictures.learning_rate_picture import draw_lr
from megatron_lrps.monitor.pictures.loss_picture import draw_losses
from megatron_lrps.monitor.pictures.tree_picture import draw_tree
from megatron_lrps.monitor.report import sections
from megatron_lrps.monitor.report.material import Material, gather
from megatron_lrps.monitor.report.page import InlineSvg, inline_svg, render
from megatron_lrps.monitor.score_table import score_columns
from megatron_lrps.storage.files import write_atomic
from megatron_lrps.version import __version__

FILE = "report.html"
_PICTURES = {"tree": "tree", "lr": "lr-paths", "losses": "losses"}
"""The name of a picture in the template -> the name of its files."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """The result of ``write_report``.

    Attributes:
        page: The HTML page.
        pictures: The same pictures beside it, as PNG and SVG.
        missing: Sentences about what the campaign does not have yet, or what is damaged.
    """

    page: Path
    pictures: tuple[Path, ...]
    missing: tuple[str, ...]


def write_report(
    campaign: Campaign, *, folder: Path, notes: Sequence[str], now: datetime, axis: Axis = ITERATIONS
) -> Written:
    """Make the report of a campaign as it stands: finished, half-way, or not begun.

    Args:
        campaign: The campaign, with its accepted plan.
        folder: The page and its pictures go there.
        notes: Sentences about what is wrong with the given or the accepted plan.
        now: The time that the page says it was made at.
        axis: The horizontal axis of the pictures.

    Raises:
        StorageError: The disk fails.
    """
    found = gather(campaign, notes=notes, axis=axis)
    files = {name: [folder / f"{stem}.{suffix}" for suffix in ("svg", "png")] for name, stem in _PICTURES.items()}
    trained = {each.path.name: each.path.end - each.iterations_left for each in found.standings}
    draw_tree(found.tree, trained, *files["tree"], axis=axis)
    draw_lr(found.tree, list(found.tree.paths), *files["lr"], axis=axis, trained=trained)
    if any(found.runs.values()):
        draw_losses(found.tree, found.runs, *files["losses"], axis=axis)
    else:
        files["losses"] = []
    pictures = {
        name: inline_svg(pair[0].stem, pair[0].read_text(encoding="utf-8")) if pair else None
        for name, pair in files.items()
    }
    write_atomic(folder / FILE, as_html(found, pictures, now=now))
    return Written(
        page=folder / FILE, pictures=tuple(itertools.chain.from_iterable(files.values())), missing=found.missing
    )


def as_html(found: Material, pictures: Mapping[str, InlineSvg | None], *, now: datetime) -> str:
    """Return the page from the material and the pictures ``tree``, ``lr`` and, if anything was logged, ``losses``."""
    plan = found.tree.plan
    return render(
        "report.html.jinja",
        title=f"Campaign {plan.campaign}",
        made=f"{now:%Y-%m-%d %H:%M}",
        version=__version__,
        save=str(found.save),
        tree=found.tree,
        plan=plan,
        batches=found.tree.batches,
        other_lengths=[
            f"{path.name} has {found.tree.batches.last * length:,}"
            for path in found.tree.paths
            if (length := found.tree.plan_of(path).sequence_length) != plan.sequence_length
        ],
        end=max(path.end for path in found.tree.paths),
        pictures=pictures,
        missing=found.missing,
        state=sections.state(found),
        lr=sections.learning_rate(found),
        losses=sections.losses(found),
        pace=sections.pace(found.runs, found.printed, gpus=plan.launch.device == "gpu"),
        costs=sections.costs(found),
        costs_and_scores=score_columns(found.scores),
        notes=found.scores.notes,
        data=sections.data(found),
        scores=sections.scores(found),
        releases=sections.releases(found),
        events=sections.happenings(found.histories),
    )
