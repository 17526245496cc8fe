"""The summary of a run: one table before its first iteration, which says what the run is about to do."""

from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from megatron_lrps.campaign.data_ledger import ranges_of
from megatron_lrps.campaign.folders import PathFolder
from megatron_lrps.campaign.libraries import library_versions
from megatron_lrps.campaign.record import read_record
from megatron_lrps.campaign.same_run import Identity
from megatron_lrps.campaign.start_point import StartPoint
from megatron_lrps.plan.branch_data import own_data_words
from megatron_lrps.storage.disk_space import free_bytes, size_words
from megatron_lrps.training.path_to_train import PathToTrain
from megatron_lrps.training.saves_on_disk import bytes_needed, saves_left

_GROUPS = {
    "TP": "tensor_model_parallel_size",
    "PP": "pipeline_model_parallel_size",
    "DP": "data_parallel_size",
    "CP": "context_parallel_size",
    "EP": "expert_model_parallel_size",
}
"""The name of a parallel group -> the argument of Megatron that gives its size."""


def run_summary(
    path: PathToTrain, start: StartPoint, identity: Identity | None, args: Namespace, saved: Mapping[str, Any]
) -> str:
    """Return the table as text, with the differences from the checkpoint beside it.

    Args:
        path: The path that this process trains.
        start: The start of the run.
        identity: The identity of its data and tokenizer; None without a plan.
        args: Megatron's arguments, validated.
        saved: The arguments of the checkpoint that it starts from; empty from scratch.
    """
    name = path.own.parent.name if path.planned else "branch"
    adopts = path.adopted and start.forked
    if start.forked:
        verb = "adopts" if adopts else "forks off"
    else:
        verb = "resumes from" if start.checkpoint else "starts from"

    def beside(describe: Callable[[Mapping[str, Any]], str]) -> str:
        here = describe(vars(args))
        return here + _was(here, describe(saved) if saved else None)

    rows = [
        ("learning rate", _rates(path, start, args)),
        ("data", _data(path, start)),
        *(("epochs", each) for each in _epochs(path, start, identity, args)),
        *(("read before", each) for each in (_read_before(path, saved) if adopts else ())),
        ("batch", f"{path.batches.words} samples x {args.seq_length} tokens, micro-batch {args.micro_batch_size}"),
        ("layout", beside(_layout)),
        *_random(vars(args), saved),
        ("optimizer", beside(_optimizer)),
        ("fp8", beside(_fp8)),
        ("tokenizer", f"{args.tokenizer_type} {(identity.tokenizer or '')[:16] if identity else ''}".strip()),
        ("libraries", _libraries(start)),
        ("disk", _disk(path, start, args)),
    ]
    width = max(len(row) for row, _ in rows)
    lines = [f"{name} {verb} {start.name} and ends at iteration {path.end}."]
    return "\n".join(lines + [f"  {row:<{width}}  {value}" for row, value in rows])


def _rates(path: PathToTrain, start: StartPoint, args: Namespace) -> str:
    def rate(iteration: int) -> str:
        position = path.batches.samples(iteration)
        value = path.schedule.lr(position, max_lr=args.lr, min_lr=args.min_lr, init_lr=args.lr_warmup_init)
        return f"{value:.4g} at {iteration}"

    return f"{rate(start.iteration)}, {rate(start.iteration + 1)}, ..., {rate(path.end)}"


def _data(path: PathToTrain, start: StartPoint) -> str:
    text = f"samples {path.batches.samples(start.iteration):,} to {path.batches.samples(path.end):,}"
    if path.planned is None:
        return text
    if words := own_data_words(path.planned.tree, path.planned.path):
        return f"{text}, of {words}"
    windows = path.planned.tree.windows_of(path.planned.path)
    ahead = [w.version.name for w in windows if path.planned.path.order == "mixed" or w.end > start.iteration]
    return f"{text}, of the windows {', '.join(ahead)} ({path.planned.path.order})"


def _epochs(path: PathToTrain, start: StartPoint, identity: Identity | None, args: Namespace) -> list[str]:
    """Say how often the run will read each index, one line per window."""
    if identity is None:
        return []
    known, lines = identity.to_json(), []
    for stretch in ranges_of(
        "", known, start.iteration, path.end, batches=path.batches, sequence_length=args.seq_length
    ):
        read = (
            f"{each.version}'s " * each.replayed + f"{Path(each.prefix).name} {each.epochs:.3g}"
            for each in stretch.drawn
            if each.epochs is not None
        )
        lines.append(f"{stretch.version}: {', '.join(read)}")
    return lines


def _read_before(path: PathToTrain, saved: Mapping[str, Any]) -> list[str]:
    """List indexes of the windows that an adopted run has read too, a line each: their samples are read anew."""
    named = [each for key in ("data_path", "train_data_path") for each in saved.get(key) or () if isinstance(each, str)]
    before = {Path(each).resolve() for each in named}
    windows = path.planned.tree.windows_of(path.planned.path) if path.planned else ()
    return [
        f"{window.version.name}: {prefix.name}, by the adopted run, of which no plan knows how much; it begins anew"
        for window in windows
        for _, prefix in window.version.train
        if prefix.resolve() in before
    ]


def _layout(args: Mapping[str, Any]) -> str:
    sizes = {name: args.get(key, 1) for name, key in _GROUPS.items()}
    return " ".join(f"{name}{size}" for name, size in sizes.items() if size != 1 or name in ("TP", "PP", "DP"))


def _random(args: Mapping[str, Any], saved: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say that Megatron drops the random states if TP or PP changes; only dropout reads them."""
    moved = saved and any(args.get(key, 1) != saved.get(key, 1) for key in (_GROUPS["TP"], _GROUPS["PP"]))
    if not moved or not (args.get("hidden_dropout") or args.get("attention_dropout")):
        return []
    return [("dropout", "its random states begin anew, as TP or PP is another")]


def _optimizer(args: Mapping[str, Any]) -> str:
    weights = "bf16" if args.get("bf16") else "fp16" if args.get("fp16") else "fp32"
    spread = ", distributed" if args.get("use_distributed_optimizer") else ""
    return f"{args.get('optimizer')}, {weights} weights{spread}"


def _fp8(args: Mapping[str, Any]) -> str:
    return f"{args['fp8']}, {args.get('fp8_recipe')}" if args.get("fp8") else "off"


def _was(here: str, there: str | None) -> str:
    return f"  (the checkpoint: {there})" if there is not None and there != here else ""


def _libraries(start: StartPoint) -> str:
    record = read_record(PathFolder(start.checkpoint.save.parent)) if start.checkpoint else None
    before = record.get("libraries") if record else None
    there = before if isinstance(before, dict) else {}
    return ", ".join(f"{name} {here}" + _was(here, there.get(name)) for name, here in library_versions().items())


def _disk(path: PathToTrain, start: StartPoint, args: Namespace) -> str:
    needed, free = bytes_needed(path, start, args), size_words(free_bytes(path.own))
    saves = saves_left(path, start.iteration, args.save_interval)
    return f"{free} free; {saves} saves" + (f" take {size_words(needed)}" if needed is not None else "")
