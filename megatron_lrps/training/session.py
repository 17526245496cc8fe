"""One process's part in a campaign: which path it trains, where it starts, what it has saved, why it ended.

Knows nothing of ``megatron.training``; ``hooks.py`` calls it at the right moments.
"""

import importlib.metadata
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.adopted_run import with_content
from megatron_lrps.campaign.checkpoint import Checkpoint, Checkpoints
from megatron_lrps.campaign.cut_request import Request
from megatron_lrps.campaign.folders import CampaignFolder, PathFolder
from megatron_lrps.campaign.lineage import described
from megatron_lrps.campaign.manifest import MANIFEST, read_manifest
from megatron_lrps.campaign.record import log_event, read_record, write_record
from megatron_lrps.campaign.record_values import LATER
from megatron_lrps.campaign.releases import with_notes
from megatron_lrps.campaign.same_run import Identity
from megatron_lrps.campaign.start_point import Start
from megatron_lrps.data.fingerprint import fingerprint, tokenizer_fingerprint
from megatron_lrps.data.index_reader import token_count
from megatron_lrps.errors import EXIT_CONTINUE, EXIT_DONE, RefusedError
from megatron_lrps.plan import Plan, Window, plan_hash
from megatron_lrps.plan.data_files import window_facts
from megatron_lrps.plan.flags import UNSAFE
from megatron_lrps.plan.window_samples import windows_read
from megatron_lrps.schedule import Branch, DecaySpec, Schedule, branch_schedule, main_schedule
from megatron_lrps.storage.ownership import Ownership
from megatron_lrps.training.arguments import Planned
from megatron_lrps.training.checkpoint_reading import Reading

LIBRARIES = ("megatron-lrps", "megatron-core", "torch", "transformer-engine", "numpy")


@dataclass
class Run:
    """A path being trained by this process.

    Attributes:
        schedule: Its learning rate.
        own: Its ``--save`` folder.
        parent: Its parent's checkpoints or those of the run that it adopts, or None.
        fork: Iteration that it forks after, 0 from scratch.
        end: Its last iteration.
        until: The iteration that this process stops after, ``end`` as a rule.
        fork_points: Iterations at which it must save, since others fork there.
        planned: The plan's side, or None for a branch without a plan.
        start: Where it starts, once decided.
        saved: Last iteration that this process has saved.
        stopped: Why it ends before its end, or None.
        stopped_at: Its last iteration then.
        identity: What its data and tokenizer are, once known; None without a plan.
        ownership: This process's hold of the path. Rank 0 only.
        cuts: Iteration -> the cut that its save answers. Rank 0 only.
        damaged: Own checkpoint -> what was found to be wrong with its content.
        reading: The checkpoint to start from, while it is being read for damage.
    """

    schedule: Schedule
    own: Path
    parent: Path | None
    fork: int
    end: int
    until: int
    fork_points: frozenset[int] = frozenset()
    planned: Planned | None = None
    start: Start | None = None
    saved: int | None = None
    stopped: str | None = None
    stopped_at: int | None = None
    identity: Identity | None = None
    ownership: Ownership | None = None
    cuts: dict[int, Request] = field(default_factory=dict)
    damaged: dict[int, str] = field(default_factory=dict)
    reading: Reading | None = None

    @property
    def folder(self) -> PathFolder | None:
        """The path's folder in its campaign; None without a plan."""
        return PathFolder(self.own.parent) if self.planned else None

    @property
    def adopted(self) -> bool:
        """Whether ``parent`` is no path of the campaign, but a run that its main path goes on from."""
        return self.planned is not None and self.planned.path.adopted is not None

    def event(self, name: str, **fields: Any) -> None:
        """Append to the path's history, where it has one. Rank 0, and the last rank for an alert."""
        if self.folder is not None:
            log_event(self.folder, name, **fields)


def note_stop(run: Run, iteration: int, signals: Sequence[bool] | None, interval: int | None) -> None:
    """Remember why a run stops before its end.

    Args:
        run: This process's.
        iteration: Its last one.
        signals: Which ranks got an exit signal.
        interval: Megatron's ``--exit-interval``.
    """
    run.stopped_at = iteration
    if iteration == run.until:
        run.stopped = "until"
    elif signals and any(signals):
        run.stopped = "signal"
    else:
        run.stopped = "interval" if interval and iteration % interval == 0 else "duration"


def record_stop(run: Run, *, rank: int) -> int:
    """The exit code of a run that stopped, on rank 0 recorded: when its last save is on disk, and not before."""
    code = EXIT_DONE if run.stopped == "until" else EXIT_CONTINUE
    if rank == 0:
        run.event("stopped", reason=run.stopped, iteration=run.stopped_at, exit_code=code)
    return code


def planned_run(planned: Planned) -> Run:
    """The run of a plan's path."""
    tree, path = planned.tree, planned.path
    campaign = CampaignFolder(tree.plan.folder)
    return Run(
        schedule=path.schedule,
        own=campaign.path(path.name).checkpoints,
        parent=campaign.origin(path),
        fork=path.fork,
        end=path.end,
        until=planned.until or path.end,
        fork_points=frozenset(tree.fork_points(path.name)),
        planned=planned,
    )


_NOT_IN_A_BRANCH = {
    "train_samples": "its end is --lrps-fork-iter + --lrps-decay-iters, in iterations",
    "lr_decay_samples": "its decay is --lrps-decay-iters, in iterations",
    **{
        flag.replace("-", "_"): UNSAFE[flag]
        for flag in (
            "phase-transition-iterations",
            "iterations-to-skip",
            "result-rejected-tracker-filename",
            "rampup-batch-size",
            "step-batch-size-schedule",
            "decrease-batch-size-if-needed",
            "override-ckpt-iteration",
            "non-persistent-ckpt-type",
            "non-persistent-save-interval",
        )
    },
}
"""Destination of a Megatron argument -> why a branch without a plan refuses it."""


def unplanned_branch(args: Namespace) -> Run:
    """The run of a branch that is given by flags alone; sets what it decides on ``args``.

    Raises:
        RefusedError: for flags that contradict ``--lrps-fork-iter`` and its companions.
    """
    fork, length = args.lrps_fork_iter, args.lrps_decay_iters
    end = fork + length
    parent = args.lrps_parent or args.load
    for flag, value, needed in (("--lrps-fork-iter", fork, 1), ("--lrps-decay-iters", length, 1)):
        if value < needed:
            raise RefusedError(f"{flag} {value} is below {needed}.", f"give at least {needed}.")
    for flag in ("save", "global_batch_size", "lr", "min_lr"):
        if getattr(args, flag) is None:
            raise RefusedError(f"--{flag.replace('_', '-')} is not given, and a branch needs it.", "add it.")
    if parent is None:
        raise RefusedError("A branch is given without its parent.", "add --lrps-parent DIR, main's checkpoints.")
    if Path(parent).resolve() == Path(args.save).resolve():
        raise RefusedError(f"--save {args.save} is the parent's folder.", "give the branch a folder of its own.")
    if args.train_iters not in (None, end):
        raise RefusedError(
            f"--train-iters {args.train_iters} contradicts the branch's end, {fork} + {length} = {end}.",
            f"give {end}, or drop it.",
        )
    if args.lr_warmup_samples or args.lr_warmup_fraction is not None:
        raise RefusedError("--lr-warmup-samples and --lr-warmup-fraction are not known here.", "use --lr-warmup-iters.")
    for name in ("finetune", "no_load_optim", "override_opt_param_scheduler", "use_checkpoint_opt_param_scheduler"):
        if getattr(args, name):
            raise RefusedError(f"--{name.replace('_', '-')} would break the fork.", "drop it.")
    for name, reason in _NOT_IN_A_BRANCH.items():
        if getattr(args, name):
            flag = f"--{name.replace('_', '-')}"
            raise RefusedError(f"{flag} is given to a branch: {reason}.", f"drop {flag}.")
    if args.ckpt_format != "torch_dist":
        raise RefusedError(
            f"--ckpt-format {args.ckpt_format}: a branch reads and writes torch_dist alone.",
            "drop it; a parent in another format is converted first (--ckpt-convert-format torch_dist).",
        )
    if args.ckpt_step not in (None, fork):
        raise RefusedError(f"--ckpt-step {args.ckpt_step} contradicts --lrps-fork-iter {fork}.", "drop it.")
    if args.lr_warmup_iters > fork:
        raise RefusedError(f"--lr-warmup-iters {args.lr_warmup_iters} reaches past the fork at {fork}.", "fork later.")
    batch, decay = args.global_batch_size, DecaySpec(shape=args.lrps_decay_shape)
    main = main_schedule(warm=args.lr_warmup_iters, batch=batch)
    args.train_iters, args.lr_decay_style, args.lr_decay_iters = end, "constant", None
    return Run(
        schedule=branch_schedule(main, Branch(name="branch", fork=fork, end=end, decay=decay), batch=batch),
        own=Path(args.save),
        parent=Path(parent),
        fork=fork,
        end=end,
        until=end,
    )


def identity_of(planned: Planned, position: int, recorded: Mapping[str, Any]) -> Identity:
    """What the path's data and tokenizer are, by content; hashes the .idx of what it still reads, and no other.

    Args:
        planned: The plan's path.
        position: The iteration that it starts from.
        recorded: ``Identity.to_json`` of the checkpoint there. What it says of training data that the path has passed
            and does not replay stands, as nothing reads them again: they may be gone.
    """
    tree, path = planned.tree, planned.path
    read = windows_read(tree, path, position)
    return Identity(
        windows=[
            window_facts(tree, window, _known if window in read else _passed(recorded, window))
            for window in tree.windows_of(path)
        ],
        tokenizer=_tokenizer(tree.plan),
        order=path.order,
    )


def _known(prefix: Path) -> dict[str, Any]:
    return {**fingerprint(prefix).to_json(), "tokens": token_count(prefix)}


def _passed(recorded: Mapping[str, Any], window: Window) -> Callable[[Path], dict[str, Any]]:
    """What is recorded of a window's indexes, in its order, wherever they lay then; read where that is nothing."""
    name, listed = window.version.name, [prefix for _, prefix in window.version.train]
    data: list[Any] = next((each["data"] for each in recorded.get("windows", []) if each["version"] == name), [])
    found = {prefix: known for prefix, (_, _, known) in zip(listed, data, strict=False)}
    return lambda prefix: found.get(prefix) or _known(prefix)


def _tokenizer(plan: Plan) -> str | None:
    """What tells a tokenizer from another: its file's fingerprint, or without a file what the plan says of it."""
    tokenizer = plan.tokenizer
    if tokenizer is None:
        return None
    if tokenizer.model is not None and tokenizer.model.exists():
        return tokenizer_fingerprint(tokenizer.model)
    return " ".join(str(part) for part in (tokenizer.type, tokenizer.model, tokenizer.vocab_size) if part is not None)


def record(run: Run, args: Namespace, status: str) -> None:
    """Write the path's lineage record. Rank 0 only; nothing without a plan."""
    if run.folder is None or run.planned is None or run.identity is None:
        return
    checkpoints = Checkpoints.in_folder(run.own).complete
    before = read_record(run.folder) or {}
    path, plan = run.planned.path, run.planned.tree.plan
    written = {
        **{key: before[key] for key in LATER if key in before},
        **described(run.planned.tree, path),
        "status": status,
        "plan_hash": plan_hash(plan),
        "data": run.identity.to_json(),
        "layout": {
            "tensor": args.tensor_model_parallel_size,
            "pipeline": args.pipeline_model_parallel_size,
            "data": args.data_parallel_size,
            "distributed_optimizer": args.use_distributed_optimizer,
        },
        "consumed_samples": max([path.fork, *checkpoints]) * plan.global_batch_size,
        "checkpoints": [
            {"iteration": each, "sha256": _digest(Checkpoint(run.own, each).folder)} for each in checkpoints
        ],
        "libraries": _library_versions(),
    }
    write_record(run.folder, with_notes(with_content(written, before), run.folder))


def _digest(folder: Path) -> str | None:
    try:
        return _digest_of(folder, (folder / MANIFEST).stat().st_mtime_ns)
    except OSError:
        return None


@cache
def _digest_of(folder: Path, mtime_ns: int) -> str | None:
    # A manifest of a thousand files takes a while to read, and every save writes the record anew.
    manifest = read_manifest(folder)
    return manifest.digest if manifest else None


def _library_versions() -> dict[str, str]:
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
