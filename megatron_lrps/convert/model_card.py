"""The model card of an export: what made the version. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from megatron_lrps.campaign.data_ledger import Range, totals_of
from megatron_lrps.campaign.lineage import Facts, Link, schedule_words
from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.plan.paths import adopted_words
from megatron_lrps.version import __version__

_SHOWN_HASH = 16
_BEGIN, _END = "<!-- scores by lrps -->", "<!-- end of scores -->"


class Lineage(NamedTuple):
    """What is known of a version.

    Attributes:
        facts: Its path's.
        links: The paths it came through, the root first.
        schedules: Path -> its learning rate in words.
        ranges: What it has read.
    """

    facts: Facts
    links: Sequence[Link]
    schedules: Mapping[str, Sequence[str]]
    ranges: Sequence[Range]


def lineage_of(facts: Facts, links: Sequence[Link], of_path: Iterable[Facts], ranges: Sequence[Range]) -> Lineage:
    """A version's lineage; ``of_path`` are the facts of every path in ``links``."""
    until = {
        link.path: link.until for link in links
    }  # main goes on behind the fork, which made nothing of this version
    return Lineage(
        facts, links, {each.name: schedule_words(each.values, until.get(each.name)) for each in of_path}, ranges
    )


def model_card(
    lineage: Lineage,
    model: Model,
    *,
    name: str,
    iteration: int,
    sha256: str | None,
    dtype: str,
    tokenizer: str,
    ignored: Sequence[str],
    base: Path,
) -> str:
    """The README.md of an export.

    Args:
        lineage: What made it.
        model: What it is.
        name: The version's.
        iteration: The checkpoint's.
        sha256: Hash of the checkpoint's manifest, or None.
        dtype: Of the weights.
        tokenizer: A sentence on it.
        ignored: What of the checkpoint has no place in the export.
        base: The plan's folder: data below it are named without it, others by their last name.
    """
    values = lineage.facts.values
    campaign = _text(values.get("campaign", ""))
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags: [megatron-lrps]",
        "---",
        "",
        f"# {campaign} {_text(name)}",
        "",
        f"A {FAMILIES[model.family].architecture} of {model.layers} layers, {model.hidden} wide, {model.heads} heads "
        f"({model.groups} of keys and values), {model.vocab:,} tokens, up to {model.positions:,} positions, {dtype}"
        f"{f', {model.experts} experts of which {model.top_k} work on a token' if model.experts else ''}.",
        "",
        f"{_text(tokenizer)}",
        "",
        "## Lineage",
        "",
        "| | |",
        "|---|---|",
        f"| made by | {_text(' -> '.join(_link(link) for link in lineage.links))} |",
    ]
    root = lineage.links[0]
    if root.adopted is not None and root.start is not None:
        words = adopted_words(_shown(Path(root.adopted), base), root.start)
        lines.append(f"| {_text(root.path)} | {_text(words)} |")
    for path, schedule in lineage.schedules.items():
        lines += [f"| learning rate of {_text(path)} | {_text(each)} |" for each in schedule]
    if "global_batch_size" in values and "sequence_length" in values:
        lines.append(f"| batch | {values['global_batch_size']:,} samples of {values['sequence_length']:,} tokens |")
    lines.append(
        f"| checkpoint | iteration {iteration:,} of {_text(lineage.facts.name)}, manifest {sha256 or 'unknown'} |"
    )
    for key in ("plan_hash", "libraries"):
        if key in values:
            lines.append(f"| {key.replace('_', ' ')} | {_text(values[key])} |")
    lines.append(f"| exported by | lrps {__version__} |")
    if ignored:
        lines.append(f"| not exported | {_text(', '.join(ignored))} |")
    lines += ["", "## Data", "", *_data(lineage.ranges, base)]
    return "\n".join(lines) + "\n"


def with_scores(card: str, results: Mapping[str, Any], proofs: Sequence[str] = ()) -> str:
    """A card with the scores of a version, in place of those it has.

    Args:
        card: The README.md of an export.
        results: ``results.json`` of ``campaign/scores.py``.
        proofs: What it was judged by, a sentence each.
    """
    lines = [
        _BEGIN,
        "## Scores",
        "",
        "| validation set | perplexity | bits per byte | tokens | by |",
        "|---|---|---|---|---|",
    ]
    for name, result in results["perplexity"].items():
        numbers = (_number(result.get(key)) for key in ("perplexity", "bits_per_byte"))
        cells = (name, *numbers, _number(result.get("tokens")), f"{result.get('engine')}, {result.get('dtype')}")
        lines.append(f"| {' | '.join(map(_text, cells))} |")
    if results["tasks"]:
        lines += ["", "| task | metric | value | standard error | few-shot | limit |", "|---|---|---|---|---|---|"]
    for task, result in results["tasks"].items():
        metrics, settings = result.get("metrics") or {}, result.get("settings") or {}
        for metric, value in metrics.items():
            if "_stderr" not in metric:
                error = metrics.get(f"{metric}_stderr")
                asked = (settings.get("few_shot"), settings.get("limit"))
                cells = (
                    task,
                    metric,
                    _number(value),
                    _number(error),
                    *("-" if each is None else each for each in asked),
                )
                lines.append(f"| {' | '.join(map(_text, cells))} |")
    if proofs:
        lines += ["", *(f"- {_text(each)}" for each in proofs)]
    section = "\n".join([*lines, _END])
    head, begun, rest = card.partition(_BEGIN)
    if begun:
        return head + section + rest.partition(_END)[2]
    return f"{card.rstrip()}\n\n{section}\n"


def _number(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4f}" if isinstance(value, float) else "-"


def _link(link: Link) -> str:
    start, until = ("?" if each is None else f"{each:,}" for each in (link.start, link.until))
    return f"{link.path} ({start}, {until}]"


def _data(ranges: Sequence[Range], base: Path) -> list[str]:
    if not ranges:
        return ["Nothing is recorded of the data."]
    lines = [
        "| data of | index | samples | of these replayed | epochs | tokens | idx sha256 | bin sha256 (sampled) |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for total in totals_of(ranges):
        shown = _shown(Path(total.prefix), base)
        known = total.known
        cells = (
            total.version,
            shown,
            f"{total.samples:,}",
            f"{total.replayed:,}",
            "-" if total.epochs is None else f"{total.epochs:.3g}",
            f"{known['tokens']:,}" if isinstance(known.get("tokens"), int) else "-",
            *(str(known.get(key, "-"))[:_SHOWN_HASH] for key in ("idx_sha256", "bin_sample_sha256")),
        )
        lines.append(f"| {' | '.join(map(_text, cells))} |")
    return lines


def _shown(path: Path, base: Path) -> Path | str:
    return path.relative_to(base) if path.is_relative_to(base) else path.name


def _text(value: Any) -> str:
    """A value in a table cell: one line, no Markdown or HTML of its own."""
    if isinstance(value, Mapping):
        value = ", ".join(f"{key} {each}" for key, each in value.items())
    plain = "".join(each if each.isprintable() else " " for each in str(value))
    for mark, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("[", "\\["), ("]", "\\]")):
        plain = plain.replace(mark, written)
    return plain
