"""The sections of a report, each from what was read; what is not there is said in a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.data_ledger import Total as Drawn
from megatron_lrps.campaign.lineage import Facts, schedule_words
from megatron_lrps.campaign.releases import UNMET
from megatron_lrps.campaign.standing import ENDED, state_words
from megatron_lrps.monitor.pictures.axis import Axis
from megatron_lrps.monitor.pictures.loss_picture import loss_sets
from megatron_lrps.monitor.report.events import timeline
from megatron_lrps.monitor.report.html import Markup, Part, join, listing, prose, region, table, tag
from megatron_lrps.monitor.scalars import Runs, median_words
from megatron_lrps.monitor.score_table import Compared, score_table
from megatron_lrps.monitor.tensorboard.printed_figures import Printed
from megatron_lrps.monitor.text_table import epochs_words, number_words
from megatron_lrps.monitor.version_table import Total
from megatron_lrps.plan import Tree
from megatron_lrps.plan.file_paths import within

EVENTS = 500
"""Lines of the timeline; the latest are shown."""
LAST = 5
"""Losses whose median is a path's latest."""


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Which data a path has read with its ancestors; will read, where nothing is recorded of it."""

    path: str
    planned: bool
    totals: tuple[Drawn, ...]


@dataclass(frozen=True, kw_only=True)
class Material:
    """All that a report shows.

    Attributes:
        tree: The given plan's.
        save: The campaign's folder.
        facts: Path -> what is known of it.
        stands: Of every path, what ``standing`` gives.
        runs: Losses, gradient norms and times that were logged.
        printed: Path -> what its logs say.
        axis: What the pictures' axis counts.
        totals: The cost of each paradigm.
        compared: Versions with their scores.
        results: Path -> its ``results.json``, where there is one.
        ledgers: A version's each.
        histories: Path -> lines of its events.jsonl.
        missing: What is not there, or damaged, a sentence each.
    """

    tree: Tree
    save: Path
    facts: Mapping[str, Facts]
    stands: Sequence[Mapping[str, Any]]
    runs: Runs
    printed: Mapping[str, Printed]
    axis: Axis
    totals: Sequence[Total]
    compared: Compared
    results: Mapping[str, Mapping[str, Any]]
    ledgers: Sequence[Ledger]
    histories: Mapping[str, Sequence[Mapping[str, Any]]]
    missing: tuple[str, ...]


def _sentence(words: str) -> Markup:
    return tag("p", prose(words))


def state(found: Material, picture_: Markup) -> Markup:
    """How far it is, the tree of paths as a picture and in words, and what is missing."""
    planned = sum(path.iterations for path in found.tree.paths)
    left = sum(each["iterations_left"] for each in found.stands)
    ends = [each for each in found.stands if each["version"] is not None]
    trained = sum(each["state"] in ENDED for each in ends)
    released = sum(each["state"] == "released" for each in ends)
    cards: list[tuple[str, str]] = [
        (_percent(planned - left, planned), f"{planned - left:,} of {planned:,} iterations are trained"),
        (f"{trained} of {len(ends)}", f"versions are trained, {released} of them released"),
    ]
    cards += [
        (f"{total.of_ptfs:.0%}", f"of retraining each version (PTFS) is what {total.paradigm.upper()} costs")
        for total in found.totals
        if total.paradigm not in ("ptfs", "explicit")
    ]
    facts = tag("ul", *(tag("li", tag("strong", value), what) for value, what in cards), class_="facts")
    paths = tag("div", region("Tree of paths", tag("div", _branches(found, None), class_="box")), class_="tree")
    lacking = [tag("h3", "What is missing"), listing(map(prose, found.missing))] if found.missing else []
    return join([facts, tag("h3", "Paths"), picture_, paths, *lacking])


def _percent(part: int, whole: int) -> str:
    return f"{100 * part // whole}%"


def _branches(found: Material, parent: str | None) -> Markup:
    items = []
    for path, stands in zip(found.tree.paths, found.stands, strict=True):
        if path.parent != parent:
            continue
        version = f", version {path.version}" if path.version and path.version != path.name else ""
        done = _percent(path.iterations - stands["iterations_left"], path.iterations)
        fork = f"forks at {path.fork:,}, " if path.parent else f"{path.origin}, " if path.adopted else ""
        line: list[Part] = [
            *(tag("strong", path.name), version, " ", tag("span", state_words(stands), class_="state")),
            tag("span", f" {done}; {fork}ends at {path.end:,}", class_="soft"),
        ]
        items.append(tag("li", *line, _branches(found, path.name)))
    return tag("ul", *items) if items else Markup()


def lr_table(found: Material) -> Markup:
    """The same in words."""
    rows = [
        (path.name, path.origin, path.fork, path.end, "; ".join(schedule_words(facts.values)) or "-")
        for path, facts in zip(found.tree.paths, found.facts.values(), strict=True)
    ]
    headers = ("path", "parent", "fork", "end", "learning rate, over iterations (after, until]")
    return table("Learning rate of every path", headers, rows, texts=2, long=4)


def losses(found: Material, picture_: Markup | None) -> Markup:
    """The picture with its numbers."""
    if picture_ is None:
        return _sentence("No path has logged a loss yet.")
    sets = {name: key for name, key in loss_sets(found.tree).items() if any(key in run for run in found.runs.values())}
    rows: list[tuple[Part, ...]] = []
    for name, run in found.runs.items():
        training = run.get("lm loss", [])
        if run:
            validated = [number_words(run[key][-1][1], 4) if run.get(key) else None for key in sets.values()]
            latest = median_words([loss for _, loss in training], 4, last=LAST)
            rows.append((name, training[-1][0] if training else None, latest, *validated))
    headers = ("path", "logged until", "training", *(f"on {name}" for name in sets))
    caption = f"Latest losses in nats a token; of the training the median of the last {LAST}"
    return join([picture_, table(caption, headers, rows)])


def versions(found: Material) -> Markup:
    """The version table across paradigms, and what each costs in all."""
    plan = found.tree.plan
    tokens = plan.global_batch_size * plan.sequence_length
    rows: list[tuple[Part, ...]] = []
    for each in found.totals:
        # Listed paths are alternatives: what they cost together is no price of the versions.
        shares = (None, None) if each.paradigm == "explicit" else (f"{each.of_ptfs:.0%}", f"{each.of_cpt:.0%}")
        rows.append((each.paradigm.upper(), each.iterations, each.iterations * tokens, *shares))
        if each.cuts:
            rows.append((f"{each.paradigm.upper()}, cuts besides", each.cuts, each.cuts * tokens, None, None))
    costs = table(
        "Cost of all paths"
        if {each.paradigm for each in found.totals} == {"explicit"}
        else "Cost of all versions, against retraining each (PTFS) and continuing (CPT)",
        ("paradigm", "iterations", "tokens", "of PTFS", "of CPT"),
        rows,
    )
    return join(
        [costs, score_table(found.compared), *(tag("p", prose(note), class_="soft") for note in found.compared.notes)]
    )


def data(found: Material) -> Markup:
    """Which data each version has read, and how often."""
    rows: list[tuple[Part, ...]] = [
        (
            ledger.path,
            "by plan" if ledger.planned else "yes",
            each.version,
            within(each.prefix, found.tree.plan.base),
            each.samples,
            each.replayed or "-",
            epochs_words(each.epochs),
        )
        for ledger in found.ledgers
        for each in ledger.totals
    ]
    headers = ("path", "has read", "data of", "index", "samples", "of these replayed", "epochs")
    shown = table("What each version has read, its parents' part included", headers, rows, texts=4)
    return shown or _sentence("The plan names no data that anything has read.")


def scores(found: Material) -> Markup:
    """Every score with how it was measured."""
    if not found.results:
        return _sentence("No version has been evaluated; `lrps eval PLAN VERSION` does that.")
    sets: list[tuple[Part, ...]] = []
    tasks: list[tuple[Part, ...]] = []
    for path, results in found.results.items():
        for name, each in results["perplexity"].items():
            values = (_decimal(each.get(key)) for key in ("perplexity", "bits_per_byte"))
            sets.append((path, results["iteration"], name, *values, _count(each.get("tokens")), _word(each, "engine")))
        for task, each in results["tasks"].items():
            metrics = each.get("metrics") or {}
            for metric, value in metrics.items():
                if "_stderr" not in metric:
                    error = _decimal(metrics.get(f"{metric}_stderr"))
                    tasks.append((path, results["iteration"], task, metric, _decimal(value), error))
    headers = ("path", "iteration", "validation set", "perplexity", "bits per byte", "tokens", "by")
    return join(
        [
            table("Perplexity on every validation set", headers, sets, texts=3),
            table("Tasks", ("path", "iteration", "task", "metric", "value", "standard error"), tasks, texts=4),
        ]
    )


def _decimal(value: Any) -> str:
    return f"{value:,.4f}" if type(value) is float else _count(value)


def _count(value: Any) -> str:
    return f"{value:,}" if type(value) is int and abs(value) < 10**18 else "-"


def _word(found: Mapping[str, Any], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else "-"


def releases(found: Material) -> Markup:
    """Released versions with what each was tested for."""
    shown = []
    for path, facts in found.facts.items():
        released = facts.values.get("released")
        for version, each in released.items() if isinstance(released, dict) else ():
            if isinstance(each, dict):
                shown += [tag("h3", f"{version}, path {path}"), listing(_release(each))]
        turns = [each for each in found.histories.get(path, ()) if each.get("event") in ("released", UNMET)]
        if turns and turns[-1]["event"] == UNMET:
            shown.append(tag("p", f"{path} did not meet its gate last: {_word(turns[-1], 'message')}."))
    return join(shown) if shown else _sentence("No version has been released; `lrps promote PLAN VERSION` does that.")


def _release(released: Mapping[str, Any]) -> list[Part]:
    gate = released.get("gate")
    conditions = [str(each) for each in gate] if isinstance(gate, list) else []
    gate_of = "Gate, although it was not met:" if released.get("unmet") else "Gate:"
    difference = released.get("checked")
    logits = (
        f"its logits differ by at most {difference:.2g} from Megatron's own"
        if type(difference) in (int, float)
        else "its logits were not compared with Megatron's own"
    )
    return [
        f"Released {_word(released, 'time')} from the checkpoint of iteration {_count(released.get('iteration'))}",
        f"Checkpoint: {_word(released, 'verified')}; {logits}",
        f"Export: {_word(released, 'export')}",
        join([gate_of, listing(conditions)]) if conditions else "Gate: none was asked for",
    ]


def happenings(found: Material) -> Markup:
    """The timeline of all paths."""
    lines = timeline(found.histories)
    if not lines:
        return _sentence("Nothing has happened yet.")
    rows = [(_when(line.time), line.path, line.what) for line in lines[-EVENTS:]]
    cut = f"; the latest {EVENTS:,} of {len(lines):,}" if len(lines) > EVENTS else ""
    return table(f"What happened, oldest first{cut}", ("time (UTC)", "path", "what"), rows, texts=2, long=2)


def _when(time: str) -> Part:
    """A time of events.jsonl as a date and a time of day, between which a narrow page may break the line."""
    date, _, of_day = time.removesuffix("+00:00").partition("T")
    return join([tag("span", date), " ", tag("span", of_day)]) if date else None
