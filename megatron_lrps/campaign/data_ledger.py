"""Which data a path has read, and how often: ranges of the timeline, and the samples drawn from each index. Pure.

Works on windows in the form of ``plan.data.window_facts``, which records, checkpoints and plans share. Samples are
exact if a window draws from one index; among several, Megatron keeps the weights to within a few samples.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from megatron_lrps.plan.window_samples import Interleaved
from megatron_lrps.schedule.batches import Batches


class Drawn(NamedTuple):
    """The samples that a range draws from one index.

    Attributes:
        version: The version whose training data the index belongs to.
        prefix: The index.
        replayed: Whether it was drawn for the window of a later version.
        samples: The number of samples, which may be off by a few.
        epochs: The number of passes over the whole index; None if its tokens are not known.
        known: The known facts about its content: its fingerprint and ``tokens``.
    """

    version: str
    prefix: str
    replayed: bool
    samples: int
    epochs: float | None
    known: Mapping[str, Any]


class Range(NamedTuple):
    """Samples of one window that a path reads.

    Attributes:
        path: The path that reads them.
        version: The version of the window, or of the branch that has a blend of its own.
        order: ``chained``: the range is a stretch of the timeline; ``mixed``: it is shuffled with other windows;
            ``blend``: it is drawn from a branch's own blend.
        start: The path reads them in the iterations (start, until].
        until: The end of these iterations.
        samples: The number of samples; it is not exact if the path reads only part of a mixed order.
        drawn: The samples from each index, the window's own indexes first.
    """

    path: str
    version: str
    order: str
    start: int
    until: int
    samples: int
    drawn: tuple[Drawn, ...]


class Total(NamedTuple):
    """The samples that a version draws from one index in total.

    Attributes:
        version: The version whose training data the index belongs to.
        prefix: The index.
        samples: The number of samples, which may be off by a few.
        replayed: The number of them that were drawn for later versions' windows.
        epochs: As in ``Drawn``.
        known: As in ``Drawn``.
    """

    version: str
    prefix: str
    samples: int
    replayed: int
    epochs: float | None
    known: Mapping[str, Any]


def ranges_of(
    path: str, data: Mapping[str, Any], start: int, until: int, *, batches: Batches, sequence_length: int
) -> list[Range]:
    """Return what a path reads in the iterations (start, until], window by window.

    Args:
        path: The name of the path.
        data: ``windows`` from the timeline's start on, ``order``, and ``blend`` for that order.
        start: The iteration after which it reads.
        until: The last iteration.
        batches: The samples in each iteration.
        sequence_length: Tokens per sample.
    """
    if data["order"] == "blend":
        return [_blended(path, data, start, until, batches, sequence_length)] if start < until else []
    found: list[Range] = []
    windows, mixed = data["windows"], data["order"] == "mixed"
    ends = list(itertools.accumulate(window["iterations"] for window in windows))
    for window, end in zip(windows, ends, strict=True):
        begin = end - window["iterations"]
        first, last = (0, ends[-1]) if mixed else (begin, end)
        first, last = max(start, first), min(until, last)
        if first >= last or begin == end:
            continue
        parts = _parts(window, batches.between(begin, end))
        if mixed:
            share = batches.between(first, last) / batches.samples(ends[-1])
            counts = [count * share for count in parts.values()]
        else:
            spread = Interleaved(tuple(parts.values()))
            edges = (spread.before(batches.between(begin, edge)) for edge in (first, last))
            counts = [float(after - before) for before, after in zip(*edges, strict=True)]
        found.append(
            Range(
                path=path,
                version=window["version"],
                order=data["order"],
                start=first,
                until=last,
                samples=round(sum(counts)),
                drawn=tuple(_drawn(windows, window["version"], zip(parts, counts, strict=True), sequence_length)),
            )
        )
    return found


def _blended(
    path: str, data: Mapping[str, Any], start: int, until: int, batches: Batches, sequence_length: int
) -> Range:
    """Return what a branch draws from its blend; an index that is train data of a window counts as that version's."""
    blend, samples = data["blend"], batches.between(start, until)
    own: str = blend["version"]
    owners = {prefix: each["version"] for each in data["windows"] for _, prefix, _ in each["data"]}
    return Range(
        path=path,
        version=own,
        order="blend",
        start=start,
        until=until,
        samples=samples,
        drawn=tuple(
            each._replace(version=owner, replayed=owner != own)
            for each in _indexes(blend["data"], own, own, samples, sequence_length)
            for owner in (owners.get(each.prefix, own),)
        ),
    )


def _parts(window: Mapping[str, Any], samples: int) -> dict[str, int]:
    """Return version -> those of the window's samples that it draws from its data, its own version first."""
    replayed = window["replay"]["samples"] if "replay" in window else {}
    own = samples - sum(replayed.values())
    return {window["version"]: max(own, 0), **{name: count for name, count in replayed.items() if count}}


def _drawn(
    windows: Sequence[Mapping[str, Any]], own: str, counts: Iterable[tuple[str, float]], sequence_length: int
) -> Iterator[Drawn]:
    data = {window["version"]: window["data"] for window in reversed(windows)}
    for version, count in counts:
        yield from _indexes(data.get(version, []) if count else [], version, own, count, sequence_length)


def _indexes(listed: Sequence[Any], version: str, own: str, count: float, sequence_length: int) -> Iterator[Drawn]:
    """Share samples out to indexes by weight; ``own`` is the version that they are drawn for."""
    weights = sum(weight for weight, _, _ in listed)
    for weight, prefix, known in listed:
        samples, tokens = count * (weight / weights), known.get("tokens")
        yield Drawn(
            version=version,
            prefix=prefix,
            replayed=version != own,
            samples=round(samples),
            epochs=samples * sequence_length / tokens if tokens else None,
            known=known,
        )


def totals_of(ranges: Iterable[Range]) -> list[Total]:
    """Sum ranges by index, in the order of first reading; the later record of an index counts.

    An index is identified by its recorded content, if any, as it may have been moved between two paths.
    """
    listed = [drawn for stretch in ranges for drawn in stretch.drawn]
    content = {drawn.prefix: _content(drawn) for drawn in listed if _content(drawn)}
    found: dict[tuple[str, str], Total] = {}
    for drawn in listed:
        key = drawn.version, content.get(drawn.prefix, drawn.prefix)
        before = found.get(key)
        epochs = drawn.epochs
        if before is not None and epochs is not None:
            epochs = None if before.epochs is None else before.epochs + epochs
        found[key] = Total(
            version=drawn.version,
            prefix=drawn.prefix,
            samples=drawn.samples + (before.samples if before else 0),
            replayed=drawn.samples * drawn.replayed + (before.replayed if before else 0),
            epochs=epochs,
            known=drawn.known,
        )
    return list(found.values())


def _content(drawn: Drawn) -> str:
    """Return the content hash that identifies an index; empty if none is recorded."""
    return "".join(str(drawn.known.get(key, "")) for key in ("idx_sha256", "bin_sample_sha256"))
