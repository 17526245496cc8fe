"""What several commands on models print: progress, the check of logits, scores."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from megatron_lrps.monitor.text_table import table

if TYPE_CHECKING:
    from megatron_lrps.convert.logits_check import Compared


def say(line: str) -> None:
    """Print progress, which goes to stderr."""
    typer.echo(f"lrps: {line}", err=True)


def print_logits_check(compared: "Compared", *, by: str) -> None:
    """Print how far the logits differ; ``by`` is what computed the export's: transformers or Megatron."""
    if by == "transformers":
        losses = f"loss {compared.export_loss:.6f} by transformers, {compared.megatron_loss:.6f} by Megatron"
    else:
        losses = f"loss {compared.export_loss:.6f}, {compared.megatron_loss:.6f} before"
    typer.echo(f"Logits differ by at most {compared.difference:.2g} in fp32; {losses}.")


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
