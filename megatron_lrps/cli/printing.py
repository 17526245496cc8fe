"""Output that several commands share: progress, recorded values, owners, jobs, the check of logits, scores."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from megatron_lrps.monitor.text_table import table
from megatron_lrps.storage.owner import UNKNOWN, Owner

if TYPE_CHECKING:
    from megatron_lrps.convert.logits_check import Compared

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_LONGEST = 500


def say(line: str) -> None:
    """Print progress, which goes to stderr."""
    typer.echo(f"lrps: {line}", err=True)


def print_json(facts: Mapping[str, Any]) -> None:
    """Print the answer of ``--json``."""
    typer.echo(json.dumps(facts, indent=2))


def value_text(value: Any) -> str:
    """Format a value for a terminal: hashes shortened, no control characters, a mapping on one line."""
    match value:
        case None:
            return "-"
        case bool():
            return str(value).lower()
        case int():
            return f"{value:,}"
        case dict():
            texts = (f"({value_text(each)})" if isinstance(each, dict) else value_text(each) for each in value.values())
            return ", ".join(f"{value_text(key)} {text}" for key, text in zip(value, texts, strict=True)) or "-"
        case list():
            return ", ".join(map(value_text, value)) or "-"
        case str() if _SHA256.match(value):
            return value[:12]
        case str():
            shown = value if value.isprintable() else repr(value)
            return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
    return str(value)


def owner_facts(owner: Owner | None) -> dict[str, Any] | None:
    """Return who trains a path, as in ``lrps status --json`` and ``lrps show --json``.

    None if nobody trains the path; every value is null if the owner's record cannot be read.
    """
    if owner is None:
        return None
    keys = ("host", "pid", "job", "restart", "since")
    return {key: None if owner == UNKNOWN else getattr(owner, key) for key in keys}


def job_text(jobs: Sequence[dict[str, Any]]) -> str:
    """Describe a path's jobs in one line: the first that runs or waits, else the last one that ended."""
    active = [job for job in jobs if job["active"]]
    if not jobs:
        return "-"
    job = active[0] if active else jobs[-1]
    reason = f" ({job['reason']})" if job["reason"] else ""
    more = f", {len(active) - 1} more" if len(active) > 1 else ""
    does = "promotes" if job["until"] is None else f"until {job['until']}"
    return f"{job['id']} {does}: {job['state'] or 'unknown to Slurm'}{reason}{more}"


def print_logits_check(compared: "Compared", *, by: str) -> None:
    """Print how far the logits differ; ``by`` is what computed the export's: transformers or Megatron."""
    if by == "transformers":
        losses = f"loss {compared.export_loss:.6f} by transformers, {compared.megatron_loss:.6f} by Megatron"
    else:
        losses = f"loss {compared.export_loss:.6f}, {compared.megatron_loss:.6f} before"
    typer.echo(
        f"Logits differ by at most {compared.difference:.2g} in fp32, up to {compared.longest:,} tokens (rounding "
        f"explains {compared.tolerance:.2g}); {losses}."
    )


def print_scores(results: Mapping[str, Any]) -> None:
    """Print the perplexities of ``results.json``, then the metrics of its tasks."""
    rows = [
        (name, _shown(found["perplexity"]), _shown(found["bits_per_byte"]), f"{found['tokens']:,}", found["engine"])
        for name, found in results["perplexity"].items()
    ]
    typer.echo(table(("validation set", "perplexity", "bits per byte", "tokens", "by"), rows))
    metrics = [
        (task, metric, _shown(value), _shown(found["metrics"].get(f"{metric}_stderr")))
        for task, found in results["tasks"].items()
        for metric, value in found["metrics"].items()
        if "_stderr" not in metric
    ]
    if metrics:
        typer.echo("\n" + table(("task", "metric", "value", "standard error"), metrics))


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4f}"
