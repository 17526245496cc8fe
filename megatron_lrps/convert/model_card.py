"""The model card of an export: it tells how the version was made. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from megatron_lrps.campaign.data_ledger import Range, totals_of
from megatron_lrps.campaign.lineage import Facts, Link, batches_of_record, schedule_words
from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.plan.paths import adopted_words
from megatron_lrps.version import __version__

_SHOWN_HASH = 16
_BEGIN, _END = "<!-- scores by lrps -->", "<!-- end of scores -->"


class Lineage(NamedTuple):
    """The known history of how a version was made.

    Attributes:
        facts: The facts of its path.
        links: The paths that it came through, the root first.
        schedules: Path -> the learning rate in words.
        ranges: The data that it has read.
    """

    facts: Facts
    links: Sequence[Link]
    schedules: Mapping[str, Sequence[str]]
    ranges: Sequence[Range]


def lineage_of(facts: Facts, links: Sequence[Link], of_path: Iterable[Facts], ranges: Sequence[Range]) -> Lineage:
    """Return the lineage of a version. ``of_path`` holds the facts of every path in ``links``."""
    until = {link.path: link.until for link in links}  # main goes on after the fork: that is not part of the version
    schedules = {each.name: schedule_words(each.values, until.get(each.name)) for each in of_path}
    return Lineage(facts, links, schedules, ranges)


def model_card(
    lineage: Lineage,
    about: str,
    *,
    name: str,
    iteration: int,
    sha256: str | None,
    tokenizer: str,
    ignored: Sequence[str],
    base: Path,
) -> str:
    """Return the README.md of an export.

    Args:
        lineage: How the version was made.
        about: A sentence on the model.
        name: The name of the version.
        iteration: The iteration of the checkpoint.
        sha256: The hash of the checkpoint's manifest, or None.
        tokenizer: A sentence on the tokenizer.
        ignored: The parts of the checkpoint without a place in the export.
        base: The plan's folder. Data below it are named relative to it, others by the last part of their path.
    """
    values = lineage.facts.values
    rows = [("made by", " -> ".join(map(_link, lineage.links)))]
    root = lineage.links[0]
    if root.adopted is not None and root.start is not None:
        rows.append((root.path, adopted_words(_shown(Path(root.adopted), base), root.start)))
    for path, schedule in lineage.schedules.items():
        rows += [(f"learning rate of {path}", each) for each in schedule]
    if "global_batch_size" in values and "sequence_length" in values:
        rows.append(("batch", f"{batches_of_record(values).words} samples of {values['sequence_length']:,} tokens"))
    manifest = f"manifest {sha256 or 'unknown'}"
    rows.append(("checkpoint", f"iteration {iteration:,} of {lineage.facts.name}, {manifest}"))
    rows += [(key.replace("_", " "), values[key]) for key in ("plan_hash", "libraries") if key in values]
    rows.append(("exported by", f"lrps {__version__}"))
    if ignored:
        rows.append(("not exported", ", ".join(ignored)))
    lines = [
        *_head(about, f"{_text(values.get('campaign', ''))} {_text(name)}", tokenizer),
        "## Lineage",
        "",
        "| | |",
        "|---|---|",
        *(_row(*cells) for cells in rows),
        "",
        "## Data",
        "",
        *_data(lineage.ranges, base),
    ]
    return "\n".join(lines) + "\n"


def plain_card(about: str, *, name: str, tokenizer: str, ignored: Sequence[str]) -> str:
    """Return the README.md of an export of which nothing is known but the checkpoint; arguments as ``model_card``'s."""
    rows = [("checkpoint", name), ("exported by", f"lrps {__version__}")]
    if ignored:
        rows.append(("not exported", ", ".join(ignored)))
    lines = [*_head(about, _text(name), tokenizer), "| | |", "|---|---|", *(_row(*cells) for cells in rows)]
    return "\n".join(lines) + "\n"


def about_model(model: Model, dtype: str) -> str:
    """Return a sentence on a model whose weights have that dtype."""
    experts = f", {model.experts} experts of which {model.top_k} work on a token" if model.experts else ""
    return (
        f"A {FAMILIES[model.family].architecture} of {model.layers} layers, {model.hidden} wide, {model.heads} heads "
        f"({model.groups} of keys and values), {model.vocab:,} tokens, up to {model.positions:,} positions, {dtype}"
        f"{experts}."
    )


def _head(about: str, title: str, tokenizer: str) -> list[str]:
    return [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags: [megatron-lrps]",
        "---",
        "",
        f"# {title}",
        "",
        _text(about),
        "",
        _text(tokenizer),
        "",
    ]


def with_scores(card: str, results: Mapping[str, Any], proofs: Sequence[str] = ()) -> str:
    """Return the card with the scores of a version, in place of those that it shows.

    Args:
        card: The README.md of an export.
        results: The content of ``results.json`` (``campaign/scores.py``).
        proofs: Sentences on what the version was judged by.
    """
    lines = [
        _BEGIN,
        "## Scores",
        "",
        "| validation set | perplexity | bits per byte | tokens | by |",
        "|---|---|---|---|---|",
    ]
    for name, result in results["perplexity"].items():
        numbers = (_number(result.get(key)) for key in ("perplexity", "bits_per_byte", "tokens"))
        lines.append(_row(name, *numbers, f"{result.get('engine')}, {result.get('dtype')}"))
    if results["tasks"]:
        lines += ["", "| task | metric | value | standard error | few-shot | limit |", "|---|---|---|---|---|---|"]
    for task, result in results["tasks"].items():
        metrics, settings = result.get("metrics") or {}, result.get("settings") or {}
        asked = ["-" if settings.get(key) is None else settings[key] for key in ("few_shot", "limit")]
        for metric, value in metrics.items():
            if "_stderr" not in metric:
                error = metrics.get(f"{metric}_stderr")
                lines.append(_row(task, metric, _number(value), _number(error), *asked))
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
        epochs = "-" if total.epochs is None else f"{total.epochs:.3g}"
        tokens = f"{total.known['tokens']:,}" if isinstance(total.known.get("tokens"), int) else "-"
        hashes = (str(total.known.get(key, "-"))[:_SHOWN_HASH] for key in ("idx_sha256", "bin_sample_sha256"))
        counts = (f"{total.samples:,}", f"{total.replayed:,}", epochs, tokens)
        lines.append(_row(total.version, _shown(Path(total.prefix), base), *counts, *hashes))
    return lines


def _shown(path: Path, base: Path) -> Path | str:
    return path.relative_to(base) if path.is_relative_to(base) else path.name


def _row(*cells: Any) -> str:
    return f"| {' | '.join(map(_text, cells))} |"


def _text(value: Any) -> str:
    """Return a value for a table cell: one line, with Markdown and HTML escaped."""
    if isinstance(value, Mapping):
        value = ", ".join(f"{key} {each}" for key, each in value.items())
    plain = "".join(each if each.isprintable() else " " for each in str(value))
    for mark, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("|", "\\|"), ("[", "\\["), ("]", "\\]")):
        plain = plain.replace(mark, written)
    return plain
