"""``lrps prepare``: the tokenizer and the indexes of a plan, from raw text."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer

from megatron_lrps.cli.options import JsonOption, PlanArgument
from megatron_lrps.cli.printing import print_json
from megatron_lrps.data.prepare.encoders import spec_of
from megatron_lrps.data.prepare.find import TextSource, find_sources
from megatron_lrps.data.prepare.job import Reporter, prepare_sources, stoppable
from megatron_lrps.data.prepare.prepared_record import Prepared
from megatron_lrps.monitor.text_table import table
from megatron_lrps.plan import load_plan
from megatron_lrps.plan.file_paths import within
from megatron_lrps.plan.model import Plan
from megatron_lrps.wording import counted

_LINE_S = 10.0
"""Seconds between two lines where there is no terminal to draw on."""


def prepare(
    plan: PlanArgument,
    workers: Annotated[
        int | None, typer.Option(min=1, help="How many processes to use; one per core by default.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Prepare only this version or index prefix; give it again for more.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace indexes that were made from something else.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the tokenizer and the indexes from raw text.

    The indexes are Megatron's .bin and .idx files. Run it again to continue.
    """
    with stoppable():
        _prepare(load_plan(plan), workers or len(os.sched_getaffinity(0)), only or (), force=force, as_json=as_json)


def _prepare(plan: Plan, workers: int, only: Sequence[str], *, force: bool, as_json: bool) -> None:
    sources = find_sources(plan, only)
    _train_tokenizer(plan)
    spec = spec_of(plan)
    pace = _Pace()
    with _reporter(pace, quiet=as_json) as reporter:
        prepared = prepare_sources(sources, spec, workers=workers, force=force, reporter=reporter)
    if as_json:
        indexes = [{**index.to_json(), "made": index.fresh} for index in prepared]
        print_json({"campaign": plan.campaign, "indexes": indexes})
    else:
        _print(plan, sources, prepared)
        if pace.text:
            typer.echo(f"\n{pace.text / 1e6:,.1f} MB of text encoded in {pace.seconds:,.1f} s: {pace}.")


class _Pace:
    """How fast text becomes tokens, from the moment on that encoding begins."""

    def __init__(self) -> None:
        self.text = self.tokens = 0
        self.seconds = 0.0
        self._started = time.monotonic()

    def begin(self) -> None:
        self._started = time.monotonic()

    def advance(self, text: int, tokens: int) -> None:
        self.text, self.tokens, self.seconds = text, tokens, time.monotonic() - self._started

    def __str__(self) -> str:
        rate = 1 / max(self.seconds, 1e-9)
        return f"{self.text * rate / 1e6:,.1f} MB/s, {self.tokens * rate:,.0f} tokens/s"


def _train_tokenizer(plan: Plan) -> None:
    """Train the plan's tokenizer where it says how, and there is none yet."""
    tokenizer = plan.tokenizer
    if tokenizer is None or tokenizer.train is None or tokenizer.model is None:
        return
    model = tokenizer.model
    if model.exists():
        return
    from megatron_lrps.data.prepare.train_tokenizer import sample_texts, train_tokenizer

    # Of every version's text, whichever is prepared now: another command must not make another tokenizer.
    training = [source for source in find_sources(plan) if source.trains]
    typer.echo(f"Training a tokenizer of {tokenizer.train.vocab_size:,} tokens: {model}", err=True)
    facts = train_tokenizer(tokenizer, sample_texts(training, tokenizer.train.megabytes * 10**6), model)
    typer.echo(f"Trained on {counted(facts.documents, 'document')}, {facts.text_bytes / 1e6:,.1f} MB.", err=True)


def _print(plan: Plan, sources: Sequence[TextSource], prepared: Sequence[Prepared]) -> None:
    rows = []
    for source, index in zip(sources, prepared, strict=True):
        checked = f"; {counted(index.checked_documents, 'document')} checked" if index.checked_documents else ""
        redone = f"; {len(index.reference_shards)} shards by the reference" if index.reference_shards else ""
        name, megabytes = within(source.prefix, plan.base.resolve()), f"{index.text_bytes / 1e6:,.1f}"
        made, by = "made" if index.fresh else "was there", ", ".join(index.engines) + checked + redone
        rows.append((name, index.documents, index.tokens, megabytes, sum(index.unreadable.values()), made, by))
    typer.echo(table(("index", "documents", "tokens", "MB", "unreadable", "", "by"), rows))
    for source, index in zip(sources, prepared, strict=True):
        for remark in index.remarked():
            typer.echo(f"{within(source.prefix, plan.base.resolve())}: {remark}.")


@contextmanager
def _reporter(pace: _Pace, *, quiet: bool) -> Iterator[Reporter]:
    if sys.stderr.isatty() and not quiet:
        with _bar(pace) as reporter:
            yield reporter
        return
    said = total = 0.0

    def begin(size: int) -> None:
        nonlocal total
        total = size
        pace.begin()

    def advance(text: int, tokens: int) -> None:
        nonlocal said
        pace.advance(text, tokens)
        if not quiet and pace.seconds - said >= _LINE_S:
            said = pace.seconds
            say(f"{text / 1e6:,.0f} of about {total / 1e6:,.0f} MB, {pace}")

    def say(line: str) -> None:
        typer.echo(line, err=True)

    yield Reporter(begin=begin, advance=advance, say=say)


@contextmanager
def _bar(pace: _Pace) -> Iterator[Reporter]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TimeRemainingColumn

    columns = ("{task.percentage:>3.0f}%", BarColumn(), "{task.fields[rates]}", TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None, rates="")

        def begin(size: int) -> None:
            pace.begin()
            progress.update(task, total=size)

        def advance(text: int, tokens: int) -> None:
            pace.advance(text, tokens)
            progress.update(task, completed=text, rates=str(pace))

        yield Reporter(
            begin=begin, advance=advance, say=lambda line: progress.console.print(line, markup=False, highlight=False)
        )
