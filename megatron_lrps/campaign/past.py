"""Comparing a trained past with the plan or run that continues it: what has been trained may not change.

A past comes from one of three sources: the accepted plan when a plan is given (``accepted_plan.py``), a checkpoint's
arguments and identity before a run loads it (``same_run.py``), and the state of its scheduler when it is loaded
(``training/megatron/scheduler.py``). The past that the new plan or run assumes is described in the same way, and the
two are compared here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.past_arguments import RESTORE, Change, changed_arguments, shortened
from megatron_lrps.schedule import Batches, Schedule

_COPY = "restore it, or name a copy of what was trained"
_FORK = "fork from a checkpoint on the maximal path, or restore the plan that trained it"


@dataclass(frozen=True, kw_only=True)
class Named:
    """A file, or an index of training data, that its content identifies.

    Attributes:
        place: Its path, or None.
        read: Reads its content there, part by part; returns None if it cannot be read.
        recorded: The content that a run has recorded for it, or None.
    """

    place: Path | str | None
    read: Callable[[Any], Mapping[str, Any] | None] = lambda _: None
    recorded: Mapping[str, Any] | None = None

    @property
    def content(self) -> Mapping[str, Any] | None:
        """Its content, recorded or read."""
        return self.read(self.place) if self.recorded is None else self.recorded


@dataclass(frozen=True, kw_only=True)
class PastWindow:
    """A window of the timeline.

    Attributes:
        version: The version's name.
        iterations: Its length.
        replay: Its replay of earlier windows: comparable, and readable by ``str``.
        data: (weight, index) of its training data.
    """

    version: str
    iterations: int
    replay: object
    data: Sequence[tuple[float, Named]]


@dataclass(frozen=True, kw_only=True)
class PastPath:
    """The trained part of a path.

    Attributes:
        schedule: Its learning rate.
        until: The position it has been trained to, in iterations; in samples if ``batches`` is None.
        batches: The samples in each iteration, or None.
        end: The end of the path, unless it may end before the trained position.
        values: The other values that identify the path, such as its fork.
    """

    schedule: Schedule
    until: int = 0
    batches: Batches | None = None
    end: int | None = None
    values: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Past:
    """The trained past, as far as its source knows it.

    Attributes:
        values: Key -> value. Keys that one side lacks are not compared.
        arguments: Megatron's arguments by destination.
        batches: The samples in each iteration, or None. Batches that no trained iteration has had may change.
        tokenizer: The tokenizer's file or folder.
        windows: The windows of the timeline, from its start on.
        trained: The iteration that the windows have been trained to; later windows may change. None: all are mixed,
            so all have been trained.
        paths: Name -> path. Paths that one side lacks are not compared.
        blends: Key -> (weight, index) of the data that a branch draws its samples from. Keys that one side lacks are
            not compared.
    """

    values: Mapping[str, object] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    batches: Batches | None = None
    tokenizer: Named = Named(place=None)
    windows: Sequence[PastWindow] = ()
    trained: int | None = 0
    paths: Mapping[str, PastPath] = field(default_factory=dict)
    blends: Mapping[str, Sequence[tuple[float, Named]]] = field(default_factory=dict)

    def changes(self, now: "Past", allow: Sequence[str] = ()) -> Iterator[Change]:
        """Yield each change from this past with both values; the caller refuses the first.

        Args:
            now: The past that the new plan or the run assumes.
            allow: Destinations of Megatron's arguments that may differ (``--lrps-allow``).
        """
        yield from _changed_values("", self.values, now.values)
        yield from self._changed_batches(now)
        yield from changed_arguments(self.arguments, now.arguments, allow)
        yield from _changed_content("tokenizer.model", self.tokenizer, now.tokenizer)
        for before, after in zip(self.trained_windows(), now.windows, strict=False):
            yield from _changed_window(before, after)
        for name, path in self.paths.items():
            if name in now.paths:
                yield from _changed_path(name, path, now.paths[name])
        for key, blend in self.blends.items():
            if key in now.blends:
                yield from _changed_indexes(key, blend, now.blends[key])

    def _changed_batches(self, now: "Past") -> Iterator[Change]:
        if self.batches is None or now.batches is None:
            return
        # A window that has begun was drawn for all of its samples.
        begun = sum(window.iterations for window in self.trained_windows())
        reached = max([begun, *(path.until for path in self.paths.values())])
        then, after = self.batches.until(reached), now.batches.until(reached)
        if then != after:
            yield Change(key="global_batch_size", then=then.words, now=after.words)

    def refuse_run(self, run: "Past", name: str, *, allow: Sequence[str] = ()) -> None:
        """Refuse a run whose past differs from that of the checkpoint ``name``.

        Raises:
            RefusedError: naming the difference and both values.
        """
        for change in self.changes(run, allow):
            raise change.from_checkpoint(name)

    def trained_windows(self) -> Iterator[PastWindow]:
        """The windows that have begun. The length of a half-trained one counts too, as it determines its samples."""
        start = 0
        for window in self.windows:
            if self.trained is None or start < self.trained:
                yield window
            start += window.iterations


def _changed_values(before_key: str, then: Mapping[str, object], now: Mapping[str, object]) -> Iterator[Change]:
    for key, value in then.items():
        if key in now and value != now[key]:
            yield Change(key=f"{before_key}{key}", then=value, now=now[key])


def _changed_window(then: PastWindow, now: PastWindow) -> Iterator[Change]:
    key = f"versions.{then.version}"
    values = [{"name": each.version, "iters": each.iterations, "replay": each.replay} for each in (then, now)]
    yield from _changed_values(f"{key}.", *values)
    yield from _changed_indexes(f"{key}.train", then.data, now.data)


def _changed_indexes(
    key: str, then: Sequence[tuple[float, Named]], now: Sequence[tuple[float, Named]]
) -> Iterator[Change]:
    if [weight for weight, _ in then] != [weight for weight, _ in now]:
        blends = [[(weight, str(index.place)) for weight, index in data] for data in (then, now)]
        yield Change(key=key, then=blends[0], now=blends[1])
        return
    for (_, before), (_, after) in zip(then, now, strict=True):
        yield from _changed_content(key, before, after, may_be_gone=True)


def _changed_content(key: str, then: Named, now: Named, *, may_be_gone: bool = False) -> Iterator[Change]:
    """Yield a change if the contents differ; the ranks compare what is at the same place."""
    if now.recorded is None and then.place == now.place:
        return
    if then.place is None or now.place is None:
        yield Change(key=key, then=then.place, now=now.place)
        return
    before = then.content
    # Data that nothing reads any more may be gone; other missing data are refused as missing.
    after = now.content if before is not None else None
    if before is None or (after is None and not may_be_gone):
        yield Change(key=key, then=then.place, now=f"{now.place}, whose content cannot be compared", fix=_COPY)
    elif after is not None:
        for part in after:
            if after[part] != before.get(part):
                texts = [
                    f"{each.place} ({part.replace('_', ' ')} {shortened(content.get(part))})"
                    for each, content in ((then, before), (now, after))
                ]
                yield Change(key=key, then=texts[0], now=texts[1], fix=_COPY)


def _changed_path(name: str, then: PastPath, now: PastPath) -> Iterator[Change]:
    yield from _changed_values(f"{name}, ", then.values, now.values)
    position = then.until if then.batches is None else then.batches.samples(then.until)
    before, after = then.schedule.until(position), now.schedule.until(position)
    if before != after:
        yield Change(
            key=f"{name}, learning rate up to {'iteration' if then.batches else 'sample'} {then.until:,}",
            then=_curve(before),
            now=_curve(after),
            fix=RESTORE if then.batches else _FORK,
        )
    if now.end is not None and now.end < then.until:
        yield Change(key=f"{name}, end", then=then.until, now=now.end)


def _curve(segments: Sequence[Any]) -> str:
    return ", ".join(f"{segment.shape or segment.kind} over [{segment.start}, {segment.end})" for segment in segments)
