"""``<save>/tensorboard``: what TensorBoard needs beside Megatron's own event files to show a campaign as one.

All of it is derived from files, again at each call, into event files of its own, whose names end with ``.lrps``:

- in a path's run: the learning rate, losses and the gradient norm over tokens, markers of forks, saves, resumes and
  ends, its history in words, and where it gives a version, what it was made with and what came of it (HParams);
- in the run ``<path>/backfilled``: what Megatron printed and its event files do not hold;
- in the folder itself, run ``.``: the charts of the Custom Scalars tab, HParams' columns, the campaign in words.

Megatron's event files are read and never written. The readers of ``scalars`` leave the derived files out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.lineage import facts_of
from megatron_lrps.campaign.record import events
from megatron_lrps.campaign.scores import folder_of, read_results
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.errors import RefusedError
from megatron_lrps.monitor.scalars import VS_SAMPLES, read_points
from megatron_lrps.monitor.tensorboard.charts import layout
from megatron_lrps.monitor.tensorboard.event_file import encode, put, text
from megatron_lrps.monitor.tensorboard.hparams import columns, hparams_of, metrics_of
from megatron_lrps.monitor.tensorboard.markdown import TEXTS, table
from megatron_lrps.monitor.tensorboard.path_events import (
    VS_TOKENS,
    Known,
    backfill_content,
    missing_in,
    path_content,
    with_kept,
)
from megatron_lrps.monitor.tensorboard.printed_figures import Printed, read_printed
from megatron_lrps.monitor.version_table import VersionTable, version_table
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.storage.ownership import holder

BACKFILLED = "backfilled"
"""A path's run of what its logs alone hold is called ``<path>/backfilled``."""


@dataclass(frozen=True, kw_only=True)
class Derived:
    """What was done.

    Attributes:
        folder: TensorBoard's ``--logdir``.
        changed: Runs whose derived file had to be written, grown or removed; ``.`` is the campaign's.
        notes: What a reader must know, a sentence each.
    """

    folder: Path
    changed: tuple[str, ...]
    notes: tuple[str, ...]


def derive(campaign: CampaignFolder, trees: Sequence[Tree], *, notes: Sequence[str] = ()) -> Derived:
    """Bring the derived event files up to date with the campaign; a second call changes nothing.

    Args:
        campaign: Its folder.
        trees: The given plan's, then the accepted plan's.
        notes: What is wrong with the plans, a sentence each.

    Raises:
        StorageError: where the disk refuses.
    """
    tree, said = trees[0], list(notes)
    paths = {path.name: known for path in tree.paths if (known := _known(campaign, trees, path, said)) is not None}
    runs = {path.name: paths[path.name].run if path.name in paths else {} for path in tree.paths}
    versions = version_table(tree, campaign, runs=runs)
    rows = {row.path: row for row in versions.rows}
    folder = campaign.root / "tensorboard"
    changed, made, metrics = [], [], []
    for name, known in paths.items():
        if not known.begun:
            continue
        results = _results(campaign, known.path, said)
        if name in rows:
            made.append(hparams_of(tree, known.path))
            metrics.append(metrics_of(rows[name], known.printed.rank_hours, results))
        content = path_content(
            tree,
            known,
            paths.get(known.path.parent or ""),
            hparams=made[-1] if name in rows else None,
            metrics=metrics[-1] if name in rows else {},
        )
        if put(folder / name, content):
            changed.append(name)
        if put(folder / name / BACKFILLED, backfill_content(tree, known)):
            changed.append(f"{name}/{BACKFILLED}")
    begun = [known for known in paths.values() if known.begun]
    said += [note for known in begun for note in _backfill_words(known)]
    if not begun:
        said.append("Nothing has begun.")
    else:
        began = min(known.times[0] for known in begun)
        shown = [text(f"{TEXTS}campaign", 0, _campaign(versions, begun, said), began)]
        shown += layout(tree, {tag for known in begun for tag in known.tags})
        shown += [columns(made, metrics, began=began)] if made else []
        content = encode(shown, began=began)
        if put(folder, content):
            changed.append(".")
    return Derived(folder=folder, changed=tuple(changed), notes=tuple(dict.fromkeys(said)))


def _known(campaign: CampaignFolder, trees: Sequence[Tree], path: PlannedPath, said: list[str]) -> Known | None:
    """What the files say of a path; None where some cannot be read, so that nothing can be said to be missing."""
    folder = campaign.path(path.name)
    try:
        logged = read_points(campaign.tensorboard(path.name), _over_iterations)
        before = read_points(campaign.tensorboard(path.name) / BACKFILLED, _over_iterations, derived=True)
        facts = facts_of(campaign, trees, path.name)
    except RefusedError as error:
        said.append(f"{path.name} is left as it is: {error.what}")
        return None
    try:
        printed = read_printed(folder.logs)
    except OSError as error:
        said.append(f"The logs of {path.name} are left out: {error.filename} cannot be read: {error.strerror}.")
        printed = Printed()
    until = float(path.end)
    if holder(folder.root) is not None:
        # Its writer holds back what it logged in the last minutes; the rest is missing for good.
        until = max((points[-1].step for points in logged.values()), default=0)
    missing = missing_in(trees[0], logged, printed.points, until=until)
    return Known(
        path=path,
        facts=facts,
        history=events(folder),
        logged=logged,
        printed=printed,
        missing=with_kept(missing, before, logged, printed.points),
        saved=standing_of(campaign, path).saved,
    )


def _over_iterations(tag: str) -> bool:
    return not tag.endswith((VS_SAMPLES, VS_TOKENS))


def _results(campaign: CampaignFolder, path: PlannedPath, said: list[str]) -> dict[str, Any] | None:
    file = folder_of(campaign, path.name) / "results.json"
    try:
        found = read_results(campaign, path.name)
    except RefusedError as error:  # a newer lrps has written them
        said.append(error.what)
        return None
    if found is None and file.exists():
        said.append(f"{file} cannot be read: it is torn, or not as lrps writes it.")
    if found is not None and found["iteration"] != path.end:
        said.append(
            f"{path.name} was scored at iteration {found['iteration']:,}, not at its end, {path.end:,}: left out."
        )
    return found


def _backfill_words(known: Known) -> list[str]:
    """Which figures came from the logs, and which could not."""
    name, said = known.path.name, []
    if known.missing:
        count = sum(len(points) for points in known.missing.values())
        first = min(points[0].step for points in known.missing.values())
        last = max(points[-1].step for points in known.missing.values())
        said.append(
            f"{name}: {count:,} figures of {len(known.missing)} tags, of iterations {first:,} to {last:,}, are not in "
            f"its event files and were read from its logs; they are the run {name}/{BACKFILLED}."
        )
    if lost := [each for each in known.printed.left_out if each not in known.losses]:
        where = ", ".join(f"{each:,}" for each in lost[:10]) + (" ..." if len(lost) > 10 else "")
        said.append(f"{name}: the loss of iteration {where} is lost: its log has a mean with the iterations before.")
    return said


def _campaign(versions: VersionTable, begun: Sequence[Known], notes: Sequence[str]) -> str:
    """The campaign in words: what each paradigm costs, every path, and what a reader must know."""
    costs = table(
        ("paradigm", "iterations", "of PTFS", "of CPT"),
        [(each.paradigm, each.iterations, f"{each.of_ptfs:.0%}", f"{each.of_cpt:.0%}") for each in versions.totals],
    )
    paths = table(
        ("path", "version", "parent", "fork", "end", "trained until"),
        [
            (path.name, path.version or "-", path.parent or "-", path.fork, path.end, known.reached)
            for known, path in ((known, known.path) for known in begun)
        ],
    )
    said = table(("to know",), [(note,) for note in notes]) if notes else ""
    return "\n\n".join(part for part in (costs, paths, said) if part)
