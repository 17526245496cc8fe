"""``<save>/tensorboard``: what TensorBoard needs beside Megatron's own event files to show a campaign as one.

All of it is derived from files, again at each call, into event files of its own, whose names end with ``.lrps``:

- in a path's run: the learning rate, losses and the gradient norm over tokens, markers of forks, saves, resumes and
  ends, its history in words, and if it gives a version, its settings and results (HParams);
- in the run ``<path>/backfilled``: what Megatron printed but its event files lack;
- in the folder itself, run ``.``: the charts of the Custom Scalars tab, HParams' columns, the campaign in words.

Megatron's event files are read and never written. The readers of ``scalars`` leave the derived files out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.monitor.readable_files import results_of
from megatron_lrps.monitor.tensorboard.charts import layout
from megatron_lrps.monitor.tensorboard.event_file import TEXTS, encode, markdown_table, put, text
from megatron_lrps.monitor.tensorboard.hparams import columns, hparams_of, metrics_of
from megatron_lrps.monitor.tensorboard.known import BACKFILLED, Known, known_of
from megatron_lrps.monitor.tensorboard.path_run import backfill_content, path_content
from megatron_lrps.monitor.version_costs import VersionCosts, version_costs
from megatron_lrps.plan import PlannedPath


@dataclass(frozen=True, kw_only=True)
class Derived:
    """The result of ``derive``.

    Attributes:
        folder: TensorBoard's ``--logdir``.
        changed: The runs whose derived file was written, appended to or removed; ``.`` is the campaign's run.
        notes: Sentences that a reader must know.
    """

    folder: Path
    changed: tuple[str, ...]
    notes: tuple[str, ...]


def derive(campaign: Campaign, *, notes: Sequence[str] = ()) -> Derived:
    """Bring the derived event files up to date with the campaign; a second call changes nothing.

    Args:
        campaign: The campaign, with its accepted plan.
        notes: Sentences about what is wrong with the plans.

    Raises:
        StorageError: The disk fails.
    """
    tree, said = campaign.tree, list(notes)
    paths = {path.name: known for path in tree.paths if (known := known_of(campaign, path, said)) is not None}
    runs = {path.name: paths[path.name].run if path.name in paths else {} for path in tree.paths}
    versions = version_costs(campaign, runs=runs)
    rows = {row.path: row for row in versions.rows}
    begun = [known for known in paths.values() if known.begun]
    hparams = {known.path.name: hparams_of(tree, known.path) for known in begun if known.path.name in rows}
    contents: dict[str, bytes | None] = {}
    metrics = {}
    for known in begun:
        name = known.path.name
        results = _at_the_end(results_of(campaign.folder, name, said), known.path, said)
        if name in rows:
            metrics[name] = metrics_of(rows[name], known.printed.rank_hours, results)
        parent, made = paths.get(known.path.parent or ""), hparams.get(name)
        contents[name] = path_content(tree, known, parent, hparams=made, metrics=metrics.get(name, {}))
        contents[f"{name}/{BACKFILLED}"] = backfill_content(tree, known)
    said += [note for known in begun for note in _backfill_words(known)]
    if begun:
        began = min(known.times[0] for known in begun)
        shown = [text(f"{TEXTS}campaign", 0, _campaign(versions, begun, said), began)]
        shown += layout(tree, {tag for known in begun for tag in known.tags})
        shown += [columns([*hparams.values()], [*metrics.values()], began=began)] if hparams else []
        contents["."] = encode(shown, began=began)
    else:
        said.append("Nothing has begun.")
    folder = campaign.folder.root / "tensorboard"
    changed = [run for run, content in contents.items() if put(folder / run, content)]
    return Derived(folder=folder, changed=tuple(changed), notes=tuple(dict.fromkeys(said)))


def _at_the_end(results: dict[str, Any] | None, path: PlannedPath, notes: list[str]) -> dict[str, Any] | None:
    """Return a path's results if they are those of its last iteration; others are left out with a note."""
    if results is None or results["iteration"] == path.end:
        return results
    notes.append(
        f"{path.name} was scored at iteration {results['iteration']:,}, not at its end, {path.end:,}: left out."
    )
    return None


def _backfill_words(known: Known) -> list[str]:
    """Say which figures came from the logs, and which could not."""
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


def _campaign(versions: VersionCosts, begun: Sequence[Known], notes: Sequence[str]) -> str:
    """Describe the campaign: each paradigm's cost, every path, and what a reader must know."""
    costs = markdown_table(
        ("paradigm", "iterations", "of PTFS", "of CPT"),
        [(each.paradigm, each.iterations, f"{each.of_ptfs:.0%}", f"{each.of_cpt:.0%}") for each in versions.totals],
    )
    paths = markdown_table(
        ("path", "version", "parent", "fork", "end", "trained until"),
        [
            (path.name, path.version or "-", path.parent or "-", path.fork, path.end, known.reached)
            for known, path in ((known, known.path) for known in begun)
        ],
    )
    said = markdown_table(("to know",), [(note,) for note in notes]) if notes else ""
    return "\n\n".join(part for part in (costs, paths, said) if part)
