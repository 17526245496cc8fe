"""How a path was made, from its record with every type checked, or from the plan if there is no record."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.data_ledger import Range, ranges_of
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.record import events, read_record
from megatron_lrps.campaign.record_values import CHECKS, LATER, SOMETIMES, is_name, plain
from megatron_lrps.campaign.releases import notes_of, with_notes
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan import PlannedPath, Tree
from megatron_lrps.plan.data_files import blend_facts, window_facts
from megatron_lrps.plan.version_source import sources_of
from megatron_lrps.schedule import Batches, Schedule, Segment

RecordState = Literal["read", "torn", "missing", "not_started"]
CheckpointState = Literal["present", "changed", "gone"]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The known facts on how a path was made; its present state is ``standing.Standing``.

    Attributes:
        name: The name of the path.
        record: ``read``; or path.json is ``torn``, or ``missing`` though the path was started; or ``not_started``.
        values: The values of path.json by key, each of its proper type. If it was not read, the plan's values,
            without fingerprints, layout, libraries or checkpoints; empty for a path of no plan.
        notes: The faults of the record, a sentence each.
    """

    name: str
    record: RecordState
    values: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Link:
    """A path's part in making a version: its iterations (start, until]; None if unknown.

    ``adopted`` is the folder of the run outside the campaign that the path continues from at ``start``.
    """

    path: str
    start: int | None
    until: int | None
    adopted: str | None = None


@dataclass(frozen=True, kw_only=True)
class RecordedCheckpoint:
    """A checkpoint of a path, compared with the path's record.

    Attributes:
        iteration: The iteration of the checkpoint.
        sha256: The hash of its manifest; None before the hashes were taken, or if it has no manifest.
        recorded: The hash that path.json records, or None.
        state: ``present``, ``changed`` (path.json has a different hash) or ``gone`` (only path.json lists it).
    """

    iteration: int
    sha256: str | None
    recorded: str | None
    state: CheckpointState


def resolve(campaign: Campaign, wanted: str) -> str:
    """Return the name of the path called ``wanted``, or of the path that gives the version of that name.

    Args:
        campaign: The campaign, with its accepted plan; paths that no plan names any more are found in its folder.
        wanted: What the user typed.

    Raises:
        RefusedError: no path matches, or several paths give the version; names the existing paths.
    """
    if any(wanted in tree.by_name for tree in campaign.trees):
        return wanted
    ends = dict.fromkeys(
        source.path for tree in campaign.trees for source in sources_of(tree) if source.version == wanted
    )
    if len(ends) > 1:
        raise RefusedError(f"Version {wanted} is the end of several paths: {', '.join(ends)}.", "name one of those.")
    if ends:
        return next(iter(ends))
    if is_name(wanted) and campaign.folder.path(wanted).root.is_dir():
        return wanted
    campaign.path(wanted)  # refuses the name and lists those that exist
    return wanted


def facts_of(campaign: Campaign, name: str) -> Facts:
    """Return the known facts of a path; raises RefusedError if a newer lrps wrote its record."""
    folder = campaign.folder.path(name)
    record = read_record(folder)
    if record is not None:
        return _checked(with_notes(record, folder), folder, campaign.plan.campaign)
    values = _by_plan(campaign, name)
    source = "this is what the plan says" if values else "no plan names this path"
    state, what = _without_record(folder)
    values |= plain(notes_of(folder))
    return Facts(name=name, record=state, values=values, notes=(f"{what}; {source}.",))


def _without_record(folder: PathFolder) -> tuple[RecordState, str]:
    if folder.record.is_symlink() or folder.record.exists():
        return "torn", f"{folder.record} cannot be read: it is torn, or not as lrps writes it"
    begun = any(event.get("event") == "started" for event in events(folder))
    if begun or Checkpoints.in_folder(folder.checkpoints).complete:
        return "missing", f"{folder.record} is missing, though the path has been started"
    return "not_started", f"{folder.root.name} has not started"


def _checked(record: Mapping[str, Any], folder: PathFolder, campaign: str) -> Facts:
    name = folder.root.name
    known = CHECKS | {key: check for key, check in SOMETIMES.items() if key in record}
    checked = [key for key, check in known.items() if key in record and check(record[key])]
    values = {key: plain(record[key]) for key in [*checked, *LATER] if key in record}
    notes = [
        f"{folder.record} is of {key} {values[key]!r}, and lies where {expected!r} belongs."
        for key, expected in (("campaign", campaign), ("path", name))
        if values.get(key, expected) != expected
    ]
    if unreadable := [key for key in known if key not in values]:
        notes.append(f"Missing in {folder.record}, or not as lrps writes it: {', '.join(unreadable)}.")
    return Facts(name=name, record="read", values=values, notes=tuple(notes))


def _by_plan(campaign: Campaign, name: str) -> dict[str, Any]:
    """Return the part of a record that the first plan with that path knows; empty if none has it."""
    tree = next((tree for tree in campaign.trees if name in tree.by_name), None)
    if tree is None:
        return {}
    path = tree.by_name[name]
    windows = [window_facts(tree, window, lambda _: {}) for window in tree.data_windows(path)]
    data = {"windows": windows, "order": path.order, **blend_facts(tree, path, lambda _: {})}
    return {**described(tree, path), "data": data}


def described(tree: Tree, path: PlannedPath) -> dict[str, Any]:
    """Return a path's record values as far as the plan alone has them."""
    plan = tree.plan
    adopted = {"folder": str(path.adopted), "iteration": path.fork, "sha256": None} if path.adopted else None
    return {
        **({"adopted": adopted} if adopted else {}),
        "campaign": plan.campaign,
        "path": path.name,
        **{key: getattr(path, key) for key in ("kind", "paradigm", "version", "parent", "fork", "end")},
        "schedule": path.schedule.to_json(),
        **({"mean": [part._asdict() for part in path.mean]} if path.mean else {}),
        "lr": {"max": plan.lr.max, "min": plan.lr.min},
        "global_batch_size": plan.global_batch_size,
        **({"batches": tree.batches.to_json()} if tree.batches.rises else {}),
        "sequence_length": tree.plan_of(path).sequence_length,
    }


def chain_of(campaign: Campaign, facts: Facts) -> list[Link]:
    """Return the paths that a version came through, root first; it starts at 0 or its adoption, None if unknown."""
    links: list[Link] = []
    until = facts.values.get("end")
    while True:
        start, parent = facts.values.get("fork"), facts.values.get("parent")
        adopted = facts.values.get("adopted", {}).get("folder")
        links.insert(0, Link(path=facts.name, start=start, until=until, adopted=adopted))
        if parent is None:
            return links
        if parent in {link.path for link in links}:  # a cycle: no plan has one, but a record may
            return [Link(path=parent, start=None, until=start), *links]
        facts, until = facts_of(campaign, parent), start


def ledger_of(campaign: Campaign, facts: Facts, links: Sequence[Link]) -> list[Range]:
    """Return what a version has read, its parents' part first; if nothing is recorded, what it will read.

    Args:
        campaign: As in ``resolve``.
        facts: The known facts of the version.
        links: The paths that it came through. Links with unknown iterations, data or sizes are left out.
    """
    found: list[Range] = []
    for link in _readers(facts, links):
        known = facts if link.path == facts.name else facts_of(campaign, link.path)
        values, until = known.values, link.until
        if link.start is None or until is None or not {"data", "global_batch_size", "sequence_length"} <= set(values):
            continue
        batches = batches_of_record(values)
        if known.record == "read" and "consumed_samples" in values:
            read = batches.iteration(values["consumed_samples"])
            if known is facts:
                until = min(until, read)
            elif read < until:  # a parent that is not there yet reads on by the plan, which may have grown
                values = _by_plan(campaign, link.path) or values
        found += ranges_of(
            link.path, values["data"], link.start, until, batches=batches, sequence_length=values["sequence_length"]
        )
    return found


def _readers(facts: Facts, links: Sequence[Link]) -> Sequence[Link]:
    """Return the paths that have read: a mean of its parent's checkpoints reads nothing, its parent does to the end."""
    parts = {part["path"] for part in facts.values.get("mean", [])}
    if len(links) < 2 or parts != {links[-2].path}:
        return links
    return [*links[:-2], replace(links[-2], until=links[-1].until)]


def checkpoints_of(folder: PathFolder, facts: Facts) -> list[RecordedCheckpoint]:
    """Return a path's complete checkpoints and those that only its record lists, by iteration."""
    recorded = {entry["iteration"]: entry["sha256"] for entry in facts.values.get("checkpoints", [])}
    there = Checkpoints.in_folder(folder.checkpoints)
    found = []
    for iteration in sorted({*recorded, *there.complete}):
        then, now = recorded.get(iteration), None
        state: CheckpointState = "gone"
        if iteration in there.complete:
            now = _digest(there.at(iteration))
            state = "changed" if now is not None and then is not None and now != then else "present"
        found.append(RecordedCheckpoint(iteration=iteration, sha256=now, recorded=then, state=state))
    return found


def _digest(checkpoint: Checkpoint) -> str | None:
    try:
        return checkpoint.digest
    except UnicodeEncodeError:  # it has lone surrogates
        return None


def batches_of_record(values: Mapping[str, Any]) -> Batches:
    """Return the samples in each iteration by the values of a path's record; 1 sample where it does not say."""
    if "batches" in values:
        return Batches.from_json(values["batches"])
    return Batches.of(values.get("global_batch_size", 1))


def schedule_words(values: Mapping[str, Any], until: int | None = None) -> list[str]:
    """Describe a path's learning rate, one line per segment, in iterations (in samples if the batch is unknown).

    Args:
        values: The values of the path's record.
        until: The iteration to describe it to, such as a version's fork off the path; None for all of it.
    """
    if "schedule" not in values:
        return []
    batches, end, lr = batches_of_record(values), values.get("end"), values.get("lr")
    schedule = Schedule.from_json(values["schedule"])
    segments = schedule.segments if until is None else schedule.until(batches.samples(until))
    return [_words(segment, batches, end, lr) for segment in segments]


def _words(segment: Segment, batches: Batches, end: int | None, lr: Mapping[str, float] | None) -> str:
    until = end if segment.end is None else batches.iteration(segment.end)
    high, low = (f"{lr['max']:g}", f"{lr['min']:g}") if lr else ("max", "min")
    step = f"{max(lr['max'] * (segment.factor or 0), lr['min']):g}" if lr else f"{segment.factor} of max"
    what = {
        "warmup": f"warm-up to {high}",
        "hold": f"hold at {high}",
        "decay": f"{segment.shape} from {high} to {low}"
        + (f" at {batches.iteration(segment.whole_end):,}, cut before" if segment.whole_end else ""),
        "factor": f"step to {step}",
        "rewarm": f"warm-up from {low} to {high}",
    }[segment.kind]
    return f"{what} ({batches.iteration(segment.start):,}, {'...' if until is None else f'{until:,}'}]"
