"""``lrps show``: what made a version, or any path."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import typer

from megatron_lrps.campaign import lineage
from megatron_lrps.campaign.data_ledger import Range, totals_of
from megatron_lrps.campaign.history import condense
from megatron_lrps.campaign.record import events
from megatron_lrps.campaign.record_values import LATER, SOMETIMES
from megatron_lrps.cli.campaign_to_read import open_to_read
from megatron_lrps.cli.options import JsonOption, PlanArgument, VersionArgument
from megatron_lrps.cli.printing import owner_facts, print_json, value_text
from megatron_lrps.monitor.text_table import epochs_words, table
from megatron_lrps.plan import plan_hash
from megatron_lrps.plan.paths import adopted_words
from megatron_lrps.storage.ownership import holder

_BEFORE = (
    ("kind", "{}, {}", ("kind", "paradigm")),
    ("version", "{}", ("version",)),
    ("iterations", "({}, {}]", ("fork", "end")),
    ("status", "{}", ("status",)),
    ("consumed", "{} samples when path.json was written", ("consumed_samples",)),
)
_AFTER = (("tokenizer", "{}", ("tokenizer",)), ("layout", "{}", ("layout",)), ("libraries", "{}", ("libraries",)))
_OF_RECORD = (
    *("kind", "paradigm", "version", "parent", "fork", "end", "status", "consumed_samples", "schedule", "lr"),
    *("global_batch_size", "sequence_length", "data", "layout", "libraries", "plan_hash"),
)


def show(plan: PlanArgument, version: VersionArgument, as_json: JsonOption = False) -> None:
    """Show what made a version. That is its paths, learning rate, data, libraries, checkpoints and history."""
    with open_to_read(plan) as (campaign, plan_notes):
        facts = lineage.facts_of(campaign, lineage.resolve(campaign, version))
        accepted = plan_hash(campaign.accepted.plan) if campaign.accepted else None
        folder = campaign.folder.path(facts.name)
        links = lineage.chain_of(campaign, facts)
        ledger, planned = lineage.ledger_of(campaign, facts, links), facts.record != "read"
        saved = lineage.checkpoints_of(folder, facts)
        history = condense(events(folder))
        owner = holder(folder.root)
        notes = (*plan_notes, *facts.notes)
        if as_json:
            whole = {
                "campaign": campaign.plan.campaign,
                "save": str(campaign.folder.root),
                "path": facts.name,
                "record": facts.record,
                "notes": notes,
                "chain": [asdict(link) for link in links],
                **{key: facts.values.get(key) for key in _OF_RECORD},
                "ledger": _ledger_facts(ledger, planned=planned),
                "accepted_plan_hash": accepted,
                "checkpoints": [asdict(each) for each in saved],
                **{key: facts.values[key] for key in (*SOMETIMES, *LATER) if key in facts.values},
                "holder": owner_facts(owner),
                "history": [asdict(entry) for entry in history],
            }
            print_json(whole)
            return
        typer.echo(f"{facts.name}  campaign {campaign.plan.campaign}  {value_text(str(folder.root))}")
        for note in notes:
            typer.echo(value_text(note))
        typer.echo("")
        rows = [*_rows(facts, links, saved, accepted), ("trained now", f"by {owner or 'nobody'}")]
        rows += [("reads by plan" if planned else "has read", _range_words(each)) for each in ledger]
        width = max(len(name) for name, _ in rows)
        before = ""
        for name, text in rows:
            typer.echo(f"{'' if name == before else name:<{width}}  {text}")
            before = name
        if ledger:
            typer.echo(f"\n{_ledger_table(ledger)}")
        if history:
            typer.echo("")
        for entry in history:
            typer.echo(f"{value_text(entry.time)}  {value_text(str(entry))}")


def _rows(
    facts: lineage.Facts, links: list[lineage.Link], saved: list[lineage.RecordedCheckpoint], accepted: str | None
) -> list[tuple[str, str]]:
    """What is known, a name and a text a line; a name that stands in several lines is printed once."""
    values = facts.values
    data = values.get("data", {})
    parts = values.get("mean", [])
    rows = [("made of", f"{part['weight']:.4g} of {part['path']} at {part['iteration']:,}") for part in parts]
    rows += [*([] if parts else [("made by", _chain(links))]), *_filled(_BEFORE, values)]
    rows += [("learning rate", value_text(words)) for words in lineage.schedule_words(values)]
    if {"global_batch_size", "sequence_length"} <= set(values):
        rows.append(
            ("batch", f"{lineage.batches_of_record(values).words} samples x {values['sequence_length']} tokens")
        )
    for window in data.get("windows", []):
        order = "chained" if data["order"] == "blend" else value_text(data["order"])
        words = f"{value_text(window['version'])}, {window['iterations']:,} iterations, {order}"
        rows.append(("data", words))
        rows += [("data", f"  {_data_set(*each)}") for each in window["data"]]
        if "replay" in window:
            counts = window["replay"]["samples"].items()
            samples = ", ".join(f"{count:,} of {value_text(name)}" for name, count in counts)
            rows.append(("data", f"  {window['replay']['share']:g}  replayed: samples {samples}"))
    if "blend" in data:
        rows.append(
            ("data", f"blend of {value_text(data['blend']['version'])} from iteration {data['blend']['fork']:,}")
        )
        rows += [("data", f"  {_data_set(*each)}") for each in data["blend"]["data"]]
    rows += _filled(_AFTER, {**data, **values})
    if "plan_hash" in values:
        rows.append(("plan", _plan(values["plan_hash"], accepted)))
    rows += [("checkpoints", _checkpoint(each)) for each in saved]
    return rows + [row for key in LATER if key in values for row in _later(key, values[key])]


def _later(key: str, value: Any) -> list[tuple[str, str]]:
    """What a path got after training; scores have a line for each name that they were measured under."""
    if key != "scores" or not isinstance(value, dict) or not all(_is_score(each) for each in value.values()):
        return [(key, value_text(value))]
    return [
        (key, f"{value_text(name)} at {value_text(each['iteration'])}: {value_text(_rounded(each['scores']))}")
        for name, each in value.items()
    ]


def _rounded(value: Any) -> Any:
    """A mapping with its fractions to six digits; ``--json`` has all of them."""
    if not isinstance(value, dict):
        return value
    return {name: f"{each:.6g}" if isinstance(each, float) else each for name, each in value.items()}


def _is_score(value: Any) -> bool:
    return isinstance(value, dict) and {"iteration", "scores"} <= set(value)


def _filled(lines: tuple[tuple[str, str, tuple[str, ...]], ...], values: Mapping[str, Any]) -> list[tuple[str, str]]:
    known = (line for line in lines if all(key in values for key in line[2]))
    return [(name, form.format(*(value_text(values[key]) for key in keys))) for name, form, keys in known]


def _chain(links: list[lineage.Link]) -> str:
    root, last = links[0], links[-1]
    parents = "".join(
        f"{link.path} at fork {'?' if link.until is None else f'{link.until:,}'} -> " for link in links[:-1]
    )
    if root.adopted is not None and root.start is not None:
        words = value_text(adopted_words(root.adopted, root.start))
        return f"{root.path}, {words}" if last is root else f"{words} -> {parents}{last.path}"
    unknown = "" if root.start == 0 else "? -> "
    return f"{unknown}{parents}{last.path}{', from scratch' if last is root and not unknown else ''}"


def _data_set(weight: float, prefix: str, prints: dict[str, Any]) -> str:
    text = f"{weight:g}  {value_text(prefix)}"
    if not prints:
        return text
    tokens = f", {prints['tokens']:,} tokens" if prints.get("tokens") is not None else ""
    content = value_text(prints["bin_sample_sha256"])
    return f"{text}  idx {value_text(prints['idx_sha256'])}, bin {content} of {prints['bin_bytes']:,} bytes{tokens}"


def _plan(recorded: str | None, accepted: str | None) -> str:
    if accepted is None:
        return f"{value_text(recorded)}; there is no accepted plan to compare with"
    same = "still the accepted one" if recorded == accepted else f"the accepted one is now {value_text(accepted)}"
    return f"{value_text(recorded)}, {same}"


def _checkpoint(saved: lineage.RecordedCheckpoint) -> str:
    text = {
        "present": value_text(saved.sha256 or "not hashed"),
        "changed": f"{value_text(saved.sha256)}, but path.json has {value_text(saved.recorded)}",
        "gone": f"{value_text(saved.recorded)}, gone since path.json was written",
    }[saved.state]
    return f"{saved.iteration:,}  {text}"


def _ledger_facts(ranges: Sequence[Range], *, planned: bool) -> dict[str, Any]:
    """As ``lrps show --json`` gives it; ``planned`` says that nothing is recorded."""
    return {
        "planned": planned,
        "ranges": [stretch._asdict() | {"drawn": [drawn._asdict() for drawn in stretch.drawn]} for stretch in ranges],
        "data": [total._asdict() for total in totals_of(ranges)],
    }


def _range_words(stretch: Range) -> str:
    how = {"mixed": ", shuffled with the others", "blend": ", of its own blend"}.get(stretch.order, "")
    return (
        f"{value_text(stretch.version)} by {stretch.path} in ({stretch.start:,}, {stretch.until:,}], "
        f"{stretch.samples:,} samples{how}"
    )


def _ledger_table(ranges: Sequence[Range]) -> str:
    """How often each index is read, a line each."""
    rows = [
        (*map(value_text, (each.version, each.prefix)), each.samples, each.replayed or "-", epochs_words(each.epochs))
        for each in totals_of(ranges)
    ]
    return table(("data of", "index", "samples", "of these replayed", "epochs"), rows)
