"""``lrps show`` and ``lrps diff``: what made a version, and what two versions do not share."""

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from megatron_lrps.campaign.differences import compare
from megatron_lrps.campaign.folders import CampaignFolder
from megatron_lrps.campaign.history import condense
from megatron_lrps.campaign.lineage import (
    Facts,
    Link,
    Saved,
    chain_of,
    checkpoints_of,
    facts_of,
    ledger_of,
    resolve,
    schedule_words,
)
from megatron_lrps.campaign.record import events
from megatron_lrps.campaign.record_values import LATER, SOMETIMES
from megatron_lrps.campaign.removal import trees_of
from megatron_lrps.cli.plan_epochs import ledger_facts, ledger_table, range_words
from megatron_lrps.cli.run import holder_facts
from megatron_lrps.errors import RefusedError, StorageError
from megatron_lrps.plan import Tree, expand, load_plan, plan_hash
from megatron_lrps.plan.paths import adopted_words
from megatron_lrps.storage.ownership import holder

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_LONGEST = 500
_BEFORE = (
    ("kind", "{}, {}", ("kind", "paradigm")),
    ("version", "{}", ("version",)),
    ("iterations", "({}, {}]", ("fork", "end")),
    ("status", "{}", ("status",)),
    ("consumed", "{} samples when path.json was written", ("consumed_samples",)),
)
_BATCH = (("batch", "{} samples x {} tokens", ("global_batch_size", "sequence_length")),)
_AFTER = (
    ("tokenizer", "{}", ("tokenizer",)),
    ("layout", "{}", ("layout",)),
    ("libraries", "{}", ("libraries",)),
)
_OF_RECORD = (
    *("kind", "paradigm", "version", "parent", "fork", "end", "status", "consumed_samples", "schedule", "lr"),
    *("global_batch_size", "sequence_length", "data", "layout", "libraries", "plan_hash"),
)


@dataclass(frozen=True)
class OpenCampaign:
    """A plan's campaign, with the accepted plan where that can be read."""

    folder: CampaignFolder
    trees: list[Tree]
    notes: tuple[str, ...]

    @property
    def accepted_hash(self) -> str | None:
        """The accepted plan's, or None."""
        return plan_hash(self.trees[1].plan) if len(self.trees) > 1 else None

    def facts(self, wanted: str) -> Facts:
        """What is known of a version or path; raises RefusedError as ``facts.resolve`` and ``facts.facts_of``."""
        return facts_of(self.folder, self.trees, resolve(self.folder, self.trees, wanted))


@contextlib.contextmanager
def open_campaign(plan_file: Path) -> Iterator[OpenCampaign]:
    """A plan's campaign; a disk that does not answer while it is read raises StorageError."""
    tree = expand(load_plan(plan_file))
    folder = CampaignFolder(tree.plan.folder)
    try:
        try:
            campaign = OpenCampaign(folder, trees_of(tree), ())
        except RefusedError as error:
            campaign = OpenCampaign(folder, [tree], (error.what,))
        yield campaign
    except BrokenPipeError:  # of the output, `lrps show PLAN v1 | head`
        raise
    except OSError as error:
        what = f"{error.filename or folder.root} could not be read: {error.strerror or error}."
        raise StorageError(what, "fix that, then rerun.") from None


def show_version(plan_file: Path, version: str, *, as_json: bool) -> None:
    """Print what made a version, or any path."""
    with open_campaign(plan_file) as campaign:
        facts = campaign.facts(version)
        folder = campaign.folder.path(facts.name)
        links = chain_of(campaign.folder, campaign.trees, facts)
        ledger, planned = ledger_of(campaign.folder, campaign.trees, facts, links), facts.record != "read"
        saved = checkpoints_of(folder, facts)
        history = condense(events(folder))
        owner = holder(folder.root)
        notes = (*campaign.notes, *facts.notes)
        if as_json:
            whole = {
                "campaign": campaign.trees[0].plan.campaign,
                "save": str(campaign.folder.root),
                "path": facts.name,
                "record": facts.record,
                "notes": notes,
                "chain": [asdict(link) for link in links],
                **{key: facts.values.get(key) for key in _OF_RECORD},
                "ledger": ledger_facts(ledger, planned=planned),
                "accepted_plan_hash": campaign.accepted_hash,
                "checkpoints": [asdict(each) for each in saved],
                **{key: facts.values[key] for key in (*SOMETIMES, *LATER) if key in facts.values},
                "holder": holder_facts(owner),
                "history": [asdict(entry) for entry in history],
            }
            typer.echo(json.dumps(whole, indent=2))
            return
        typer.echo(f"{facts.name}  campaign {campaign.trees[0].plan.campaign}  {_text(str(folder.root))}")
        for note in notes:
            typer.echo(_text(note))
        typer.echo("")
        rows = [*_rows(facts, links, saved, campaign.accepted_hash), ("trained now", f"by {owner or 'nobody'}")]
        rows += [("reads by plan" if planned else "has read", range_words(each, _text)) for each in ledger]
        width = max(len(name) for name, _ in rows)
        before = ""
        for name, text in rows:
            typer.echo(f"{'' if name == before else name:<{width}}  {text}")
            before = name
        if ledger:
            typer.echo(f"\n{ledger_table(ledger, _text)}")
        if history:
            typer.echo("")
        for entry in history:
            typer.echo(f"{_text(entry.time)}  {_text(str(entry))}")


def _rows(facts: Facts, links: list[Link], saved: list[Saved], accepted: str | None) -> list[tuple[str, str]]:
    """What is known, a name and a text a line; a name that stands in several lines is printed once."""
    values = facts.values
    data = values.get("data", {})
    rows = [("made by", _chain(links)), *_filled(_BEFORE, values)]
    rows += [("learning rate", _text(words)) for words in schedule_words(values)]
    rows += _filled(_BATCH, values)
    for window in data.get("windows", []):
        rows.append(
            ("data", f"{_text(window['version'])}, {window['iterations']:,} iterations, {_text(data['order'])}")
        )
        rows += [("data", f"  {_data_set(*each)}") for each in window["data"]]
        if "replay" in window:
            samples = ", ".join(f"{count:,} of {_text(name)}" for name, count in window["replay"]["samples"].items())
            rows.append(("data", f"  {window['replay']['share']:g}  replayed: samples {samples}"))
    rows += _filled(_AFTER, {**data, **values})
    if "plan_hash" in values:
        rows.append(("plan", _plan(values["plan_hash"], accepted)))
    rows += [("checkpoints", _checkpoint(each)) for each in saved]
    return rows + [(key, _text(values[key])) for key in LATER if key in values]


def _filled(lines: tuple[tuple[str, str, tuple[str, ...]], ...], values: Mapping[str, Any]) -> list[tuple[str, str]]:
    known = (line for line in lines if all(key in values for key in line[2]))
    return [(name, form.format(*(_text(values[key]) for key in keys))) for name, form, keys in known]


def _chain(links: list[Link]) -> str:
    root, last = links[0], links[-1]
    parents = "".join(
        f"{link.path} at fork {'?' if link.until is None else f'{link.until:,}'} -> " for link in links[:-1]
    )
    if root.adopted is not None and root.start is not None:
        words = _text(adopted_words(root.adopted, root.start))
        return f"{root.path}, {words}" if last is root else f"{words} -> {parents}{last.path}"
    unknown = "" if root.start == 0 else "? -> "
    return f"{unknown}{parents}{last.path}{', from scratch' if last is root and not unknown else ''}"


def _data_set(weight: float, prefix: str, prints: dict[str, Any]) -> str:
    text = f"{weight:g}  {_text(prefix)}"
    if not prints:
        return text
    tokens = f", {prints['tokens']:,} tokens" if prints.get("tokens") is not None else ""
    content = _text(prints["bin_sample_sha256"])
    return f"{text}  idx {_text(prints['idx_sha256'])}, bin {content} of {prints['bin_bytes']:,} bytes{tokens}"


def _plan(recorded: str | None, accepted: str | None) -> str:
    if accepted is None:
        return f"{_text(recorded)}; there is no accepted plan to compare with"
    same = "still the accepted one" if recorded == accepted else f"the accepted one is now {_text(accepted)}"
    return f"{_text(recorded)}, {same}"


def _checkpoint(saved: Saved) -> str:
    text = {
        "present": _text(saved.sha256 or "not hashed"),
        "changed": f"{_text(saved.sha256)}, but path.json has {_text(saved.recorded)}",
        "gone": f"{_text(saved.recorded)}, gone since path.json was written",
    }[saved.state]
    return f"{saved.iteration:,}  {text}"


def show_diff(plan_file: Path, a: str, b: str, *, as_json: bool) -> None:
    """Print what differs between two versions, or any two paths."""
    with open_campaign(plan_file) as campaign:
        left, right = campaign.facts(a), campaign.facts(b)
        comparison = compare(left, right)
        if as_json:
            whole = {
                "campaign": campaign.trees[0].plan.campaign,
                "save": str(campaign.folder.root),
                "notes": campaign.notes,
                "a": {"path": left.name, "record": left.record, "notes": left.notes},
                "b": {"path": right.name, "record": right.record, "notes": right.notes},
                **asdict(comparison),
            }
            typer.echo(json.dumps(whole, indent=2))
            return
        typer.echo(f"{left.name} | {right.name}")
        for note in (*campaign.notes, *left.notes, *(right.notes if right != left else ())):
            typer.echo(_text(note))
        for each in comparison.differences:
            typer.echo(f"{_text(each.key)}: {_text(each.a)} | {_text(each.b)}")
        if comparison.one_sided:
            typer.echo(f"Known of one of them alone: {', '.join(comparison.one_sided)}")
        typer.echo(f"The same in both: {comparison.same:,} values.")


def _text(value: Any) -> str:
    """A value for a terminal: hashes shortened, no control characters, a mapping on one line."""
    match value:
        case None:
            return "-"
        case bool():
            return str(value).lower()
        case int():
            return f"{value:,}"
        case dict():
            nested = (
                (key, f"({_text(each)})" if isinstance(each, dict) else _text(each)) for key, each in value.items()
            )
            return ", ".join(f"{_text(key)} {each}" for key, each in nested) or "-"
        case list():
            return ", ".join(map(_text, value)) or "-"
        case str() if _SHA256.match(value):
            return value[:12]
        case str():
            shown = value if value.isprintable() else repr(value)
            return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
    return str(value)
