"""Whether Megatron accepts a plan's parallel layout for its cluster, and what each GPU would hold: without the cluster.

The checks run in a process of their own (``training.shards``), as they need torch and change what it says of CUDA.
"""

import json
import os
import re
import subprocess
import sys
from typing import Any

from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.plan import Plan, Tree
from megatron_lrps.plan.flags import argument_line, path_flags

CHECKER = "megatron_lrps.training.shards"
GPU_BYTES = 80 * 10**9
"""What one H100 has."""
ASSUMED_VOCABULARY = 32768
"""Tokens, where neither the plan nor its tokenizer's file says; as ``cost`` assumes."""
_TIMEOUT_S = 600.0

_MENDS = (
    ("divisible by total_model_size", "let nodes x gpus_per_node (or processes) be a multiple of TP x PP x CP."),
    ("global.batch.size .* divisible", "let global_batch_size be a multiple of micro-batch-size x DP."),
    ("num_query_groups", "let one of num-query-groups and tensor-model-parallel-size divide the other."),
    ("hidden_size % args.num_attention_heads", "choose num-attention-heads that divide hidden-size, or kv-channels."),
    ("num_attention_heads", "choose a tensor-model-parallel-size that divides num-attention-heads."),
    ("layers per pipeline stage", "choose virtual stages that divide num-layers / pipeline-model-parallel-size."),
    ("[Nn]umber of layers|num_layers", "choose a pipeline-model-parallel-size that divides num-layers."),
    ("expert model parallel", "choose an expert-model-parallel-size that divides num-experts."),
    ("unrecognized arguments", "correct them under `megatron:`; Megatron's --help lists its flags."),
)
"""What Megatron says (a pattern) -> what to do."""
_NEEDS_TE = re.compile(r"\bTE\b|transformer.?engine", re.IGNORECASE)


def ranks_of(plan: Plan) -> int:
    """The plan's world size: of ``launch.slurm``, or of ``launch.local`` without it."""
    slurm = plan.launch.slurm
    return slurm.nodes * slurm.gpus_per_node if slurm else plan.launch.local.processes


def check_layout(tree: Tree) -> dict[str, Any]:
    """Let Megatron check every path's argument line for the plan's world size.

    Returns:
        ``world_size``, ``assumed_vocabulary`` (tokens, or None where it is known), ``transformer_engine`` (whether it
        is installed here), ``gpu_bytes``, and ``paths``: name -> as ``training.shards.check`` gives it.

    Raises:
        RefusedError: Megatron refuses a path: its own message and the mend.
        LrpsError: the checker died; with its last line.
    """
    plan, ranks = tree.plan, ranks_of(tree.plan)
    vocabulary, assumed = _vocabulary(plan)
    lines = {path.name: argument_line(path_flags(tree, path)) for path in tree.paths}
    answer = _ask({"world_size": ranks, "lines": lines, "vocabulary": vocabulary})
    refused = {name: found for name, found in answer["paths"].items() if "error" in found}
    for name, found in refused.items():
        more = f" (so are {len(refused) - 1} other paths)" if len(refused) > 1 else ""
        message, mend = found["error"].rstrip("."), found.get("mend") or _mend(found["error"], answer)
        raise RefusedError(f"path {name} on {ranks} ranks is refused{more}: {message}.", mend)
    return {
        "world_size": ranks,
        "assumed_vocabulary": vocabulary if assumed else None,
        "transformer_engine": answer["transformer_engine"],
        "gpu_bytes": GPU_BYTES,
        "paths": answer["paths"],
    }


def _vocabulary(plan: Plan) -> tuple[int | None, bool]:
    """Tokens (None: the tokenizer is here and knows), and whether they are assumed."""
    tokenizer = plan.tokenizer
    if tokenizer and (not tokenizer.model or tokenizer.model.exists()):
        return None, False
    size = tokenizer.size if tokenizer else None
    return size or ASSUMED_VOCABULARY, size is None and "padded-vocab-size" not in plan.megatron


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-m", CHECKER],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            # The checker stands in for CUDA, which it must not find.
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
    except subprocess.TimeoutExpired:
        raise LrpsError(
            f"Megatron's checks took longer than {_TIMEOUT_S:.0f} s for {request['world_size']} ranks.",
            "run it on a machine with less to do.",
        ) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        if "ModuleNotFoundError" in last or "ImportError" in last:
            raise RefusedError(
                f"The layout cannot be checked: {last}.",
                "pip install 'megatron-lrps[megatron]'; lrps doctor shows what is there.",
            )
        raise LrpsError(
            f"The layout could not be checked: {last}.", "see whether `lrps doctor` finds this machine fit."
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _mend(message: str, answer: dict[str, Any]) -> str:
    if not answer["transformer_engine"] and _NEEDS_TE.search(message):
        return "check the plan where Transformer Engine is installed; these flags need it."
    mends = [mend for pattern, mend in _MENDS if re.search(pattern, message)]
    return mends[0] if mends else "change these flags under `megatron:`."
