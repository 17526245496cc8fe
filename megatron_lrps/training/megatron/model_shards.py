"""Megatron's own checks of paths' argument lines for a world of any size, and the shards that they would build.

A separate process, started by ``launch.layout``: a JSON request on standard input, a JSON answer on standard output,
what Megatron prints on standard error. It needs no GPU: process groups are fake, parameters are on torch's meta
device, and modules are Megatron's local ones, which have as many parameters as Transformer Engine's.
"""

import contextlib
import importlib.util
import json
import os
import sys
import traceback
from argparse import Namespace
from collections.abc import Iterator
from typing import Any

import torch

from megatron_lrps.errors import LrpsError
from megatron_lrps.schedule import Batches
from megatron_lrps.training import cpu as cpu_backend
from megatron_lrps.training.megatron.installed import installed_release
from megatron_lrps.training.megatron.refusals import explain

_TE_ALONE: dict[str, Any] = {
    "fp8": None,
    "fp4": None,
    "tp_comm_overlap": False,
    "moe_grouped_gemm": False,
    "delay_wgrad_compute": False,
    "context_parallel_size": 1,
}
"""Arguments for Transformer Engine's modules alone -> values without. None changes a shard's parameter count."""

_FLAGS = {"fp8": "--fp8-format", "fp4": "--fp4-format"}

_LOCAL: dict[str, Any] = {
    "transformer_impl": "local",
    "persist_layer_norm": False,
    "gradient_accumulation_fusion": False,
    "masked_softmax_fusion": False,
    "use_cpu_initialization": True,
    "perform_initialization": False,
}
_GROUP_SIZES = (
    *("context_parallel_size", "hierarchical_context_parallel_sizes", "expert_model_parallel_size"),
    *("expert_tensor_parallel_size", "num_distributed_optimizer_instances"),
)
_PER_PATH = ("train_iters", "save", "load", "tensorboard_dir", "validation_set_names", "full_validation", "eval_iters")


def check(request: dict[str, Any]) -> dict[str, Any]:
    """Check every path of the request.

    Args:
        request: ``world_size`` (ranks), ``lines`` (path name -> Megatron's argument line without the program),
            ``vocabulary`` (tokens; None: ask the tokenizer), ``batches`` (``Batches.to_json`` of the plan, if the lines
            are of one) and ``adopted`` (path name -> folder and iteration of the checkpoint that it adopts, whose
            arguments must fit).

    Returns:
        ``transformer_engine`` (whether it is installed) and ``paths``: name -> ``layout`` (sizes of the parallel
        groups), ``microbatches`` (of a pipeline per iteration), ``vocabulary`` (tokens, padded), ``shards`` (``stage``,
        ``rank``, ``parameters``), ``not_built`` (why there are no shards), ``memory`` (bytes per GPU by Megatron's
        theoretical report: ``weights_and_optimizer``, ``activations``) and ``unproven`` (flags that need Transformer
        Engine's modules); or ``error`` and, if it is the plugin's own, ``fix``.
    """
    os.environ["WORLD_SIZE"], os.environ["RANK"] = str(request["world_size"]), "0"
    answers: dict[str, Any] = {}
    batches = Batches.from_json(request["batches"]) if "batches" in request else None
    built: dict[str, dict[str, Any]] = {}
    for name, line in request["lines"].items():
        try:
            adopted = request.get("adopted", {}).get(name)
            answers[name] = _check_path(line, request["vocabulary"], built, batches, adopted)
        except LrpsError as error:
            answers[name] = {"error": error.what, "fix": error.fix}
        except (Exception, SystemExit) as error:
            # Whatever Megatron raises is its verdict on these flags; the whole of it is on standard error.
            traceback.print_exc()
            answers[name] = {"error": explain(error)}
    return {"transformer_engine": importlib.util.find_spec("transformer_engine") is not None, "paths": answers}


def _check_path(
    line: list[str],
    vocabulary: int | None,
    built: dict[str, dict[str, Any]],
    batches: Batches | None,
    adopted: tuple[str, int] | None,
) -> dict[str, Any]:
    from megatron.core import num_microbatches_calculator as microbatches
    from megatron.training import theoretical_memory_usage as memory
    from megatron.training.arguments import validate_args

    from megatron_lrps.training.megatron.command_line import refuse_rising_batch
    from megatron_lrps.training.megatron.run_arguments import prepare, refuse_few_microbatches
    from megatron_lrps.training.megatron.whole_validation import size_evaluations

    if batches is not None:
        refuse_rising_batch(batches)
    args = _parse(line)
    if batches is not None and batches.rises:
        args.global_batch_size = batches.last  # the most micro-batches
    prepare(args)
    validate_args(args)
    size_evaluations(args)
    microbatches.unset_num_microbatches_calculator()
    microbatches.init_num_microbatches_calculator(
        args.rank, None, args.global_batch_size, args.micro_batch_size, args.data_parallel_size, False
    )
    count = microbatches.get_num_microbatches()
    refuse_few_microbatches(args)
    args.padded_vocab_size = _padded_vocabulary(args, vocabulary)
    if adopted is not None:
        from megatron_lrps.training.start_agreement import fitting_arguments

        fitting_arguments(*adopted, args, planned=batches)
    # Paths of one plan differ in their lengths and folders alone.
    key = json.dumps({k: v for k, v in vars(args).items() if k not in _PER_PATH}, default=str, sort_keys=True)
    if key not in built:
        built[key] = _build(args)
    selective = args.sequence_parallel and args.recompute_granularity == "selective"  # as Megatron's report chooses
    activations = memory.compute_activation_memory if selective else memory.compute_activation_memory_without_sp
    return {
        "layout": {
            "TP": args.tensor_model_parallel_size,
            "PP": args.pipeline_model_parallel_size,
            "VPP": args.virtual_pipeline_model_parallel_size or 1,
            "CP": args.context_parallel_size,
            "EP": args.expert_model_parallel_size,
            "DP": args.data_parallel_size,
        },
        "microbatches": count,
        "vocabulary": args.padded_vocab_size,
        **built[key],
        "memory": {
            "weights_and_optimizer": int(memory.compute_weight_and_optimizer_memory(args)),
            "activations": int(activations(args, num_microbatches=count)),
        },
        "unproven": [
            _FLAGS.get(name, f"--{name.replace('_', '-')}")
            for name, without in _TE_ALONE.items()
            if getattr(args, name) != without
        ],
    }


def _parse(line: list[str]) -> Namespace:
    from megatron.training.arguments import parse_args

    from megatron_lrps.training.megatron.command_line import add_flags

    sys.argv = ["lrps", *line]
    args: Namespace = parse_args(add_flags)
    return args


def _padded_vocabulary(args: Namespace, vocabulary: int | None) -> int:
    if args.padded_vocab_size:
        return int(args.padded_vocab_size)
    size = vocabulary or installed_release().build_tokenizer.get()(args).vocab_size
    rows = int(args.make_vocab_size_divisible_by * args.tensor_model_parallel_size)
    return -(-int(size) // rows) * rows


def _build(args: Namespace) -> dict[str, Any]:
    """Build the first, a middle and the last pipeline stage: ``shards``, and ``not_built`` if local modules refuse.

    Each evaluates once if there are validation sets.
    """
    from megatron_lrps.training.megatron.gpt_parts import gpt_parts
    from megatron_lrps.training.megatron.rehearsal import rehearse_evaluation

    stages, virtual = args.pipeline_model_parallel_size, args.virtual_pipeline_model_parallel_size
    args = Namespace(**{**vars(args), "apply_rope_fusion": False})  # on by default, and Transformer Engine's kernel
    shards = []
    for stage in sorted({0, stages // 2, stages - 1}):
        rank = stage * (args.world_size // stages)
        with _as_rank(args, rank):
            build = gpt_parts().builder(args, _TE_ALONE | _LOCAL)
            try:
                with torch.device("meta"):
                    chunks = [build(i) for i in (range(virtual) if virtual else (None,))]
            except Exception as error:
                traceback.print_exc()
                return {"shards": [], "not_built": explain(error)}
            if args.full_validation:
                rehearse_evaluation(args, chunks)
        parameters = sum(parameter.numel() for chunk in chunks for parameter in chunk.parameters())
        shards.append({"stage": stage, "rank": rank, "parameters": parameters})
    return {"shards": shards, "not_built": None}


@contextlib.contextmanager
def _as_rank(args: Namespace, rank: int) -> Iterator[None]:
    """Set Megatron's parallel state as on this rank of the world, without the others."""
    from megatron.core import mpu
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=args.world_size)
    try:
        mpu.initialize_model_parallel(
            args.tensor_model_parallel_size,
            args.pipeline_model_parallel_size,
            args.virtual_pipeline_model_parallel_size,
            **{name: getattr(args, name) for name in _GROUP_SIZES},
            create_gloo_process_groups=False,
        )
        yield
    finally:
        mpu.destroy_model_parallel()
        torch.distributed.destroy_process_group()


def main() -> None:
    """Answer the request on standard input."""
    request = json.load(sys.stdin)
    answer_to = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        cpu_backend.install()
        answer = check(request)
    json.dump(answer, answer_to)


if __name__ == "__main__":
    main()
