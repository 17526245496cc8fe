"""Whether Megatron accepts a plan's parallel layout for its cluster, and what each GPU would hold: without the cluster.

The checks run in a process of their own (``training.shards``), as they need torch and change what it says of CUDA.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from typing import Any

from megatron_lrps.campaign.folders import CampaignFolder, checkpoint
from megatron_lrps.campaign.record import state_of
from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.plan import Plan, Tree
from megatron_lrps.plan.flags import argument_line, path_flags
from megatron_lrps.plan.megatron_fixes import fix_of
from megatron_lrps.plan.parallel_layout import ranks_of
from megatron_lrps.plan.vocabulary import ASSUMED_VOCABULARY

CHECKER = "megatron_lrps.training.megatron.model_shards"
GPU_BYTES = 80 * 10**9
"""What one H100 has."""
_TIMEOUT_S = 600.0
SUBMIT_S = 120.0
"""What `lrps submit` waits for the checks."""

_NEEDS_TE = re.compile(r"\bTE\b|transformer.?engine", re.IGNORECASE)


class NoVerdictError(RefusedError):
    """This machine's Megatron cannot judge the plan: it, or Transformer Engine, is not there."""


def check_before_submit(tree: Tree) -> str:
    """Refuse what cannot start on the cluster, before it is queued; what is left to the jobs to find out, or nothing.

    Megatron is asked where it is on this machine, for two minutes at the most.

    Raises:
        RefusedError: Megatron refuses a path: its own message and the fix.
    """
    try:
        here = all(importlib.util.find_spec(name) for name in ("torch", "megatron.core"))
    except ImportError:
        here = False
    if not here:
        return "Megatron is not on this machine: what it says of the layout is left to the jobs."
    try:
        check_layout(tree, seconds=SUBMIT_S)
    except NoVerdictError as unproven:
        return f"Left to the jobs: {unproven.what}"
    except RefusedError as refusal:
        raise RefusedError(
            refusal.what, f"{refusal.fix} (--no-check submits all the same, for jobs with another Megatron.)"
        ) from None
    except LrpsError as unknown:
        return f"Left to the jobs: {unknown.what}"
    return ""


def check_layout(tree: Tree, *, seconds: float = _TIMEOUT_S) -> dict[str, Any]:
    """Let Megatron check every path's argument line for the plan's world size.

    Args:
        tree: The plan's.
        seconds: After which the check is given up.

    Returns:
        ``world_size``, ``assumed_vocabulary`` (tokens, or None where it is known), ``transformer_engine`` (whether it
        is installed here), ``gpu_bytes``, and ``paths``: name -> as ``training.shards.check`` gives it.

    Raises:
        RefusedError: Megatron refuses a path: its own message and the fix.
        NoVerdictError: this machine's Megatron lacks what the plan needs, or is not there.
        LrpsError: the checker died, with its last line, or took too long.
    """
    plan, ranks = tree.plan, ranks_of(tree.plan)
    vocabulary, assumed = _vocabulary(plan)
    lines = {path.name: argument_line(path_flags(tree, path)) for path in tree.paths}
    # Against an assumed vocabulary every run would be another model.
    adopted = {} if assumed else _adopted(tree)
    request = {"world_size": ranks, "lines": lines, "vocabulary": vocabulary, "adopted": adopted}
    answer = _ask(request, seconds)
    refused = {name: found for name, found in answer["paths"].items() if "error" in found}
    for name, found in refused.items():
        more = f" (so are {len(refused) - 1} other paths)" if len(refused) > 1 else ""
        what = f"path {name} on {ranks} ranks is refused{more}: {found['error'].rstrip('.')}."
        if not answer["transformer_engine"] and _NEEDS_TE.search(found["error"]):
            raise NoVerdictError(what, "check the plan where Transformer Engine is installed; these flags need it.")
        raise RefusedError(what, found.get("fix") or fix_of(found["error"]))
    return {
        "world_size": ranks,
        "assumed_vocabulary": vocabulary if assumed else None,
        "transformer_engine": answer["transformer_engine"],
        "gpu_bytes": GPU_BYTES,
        "paths": answer["paths"],
    }


def _adopted(tree: Tree) -> dict[str, tuple[str, int]]:
    """Path -> folder and iteration of the checkpoint that it is still to adopt, where that is here and whole."""
    campaign, found = CampaignFolder(tree.plan.folder), {}
    for path in tree.paths:
        state = state_of(campaign, path)
        if path.adopted is not None and state.saved is None and state.ready:
            found[path.name] = (str(checkpoint(path.adopted, path.fork)), path.fork)
    return found


def _vocabulary(plan: Plan) -> tuple[int | None, bool]:
    """Tokens (None: the tokenizer is here and knows), and whether they are assumed."""
    tokenizer = plan.tokenizer
    if tokenizer and (not tokenizer.model or tokenizer.model.exists()):
        return None, False
    size = tokenizer.size if tokenizer else None
    return size or ASSUMED_VOCABULARY, size is None and "padded-vocab-size" not in plan.megatron


def _ask(request: dict[str, Any], seconds: float) -> dict[str, Any]:
    try:
        done = subprocess.run(
            [sys.executable, "-m", CHECKER],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            # The checker stands in for CUDA, which it must not find.
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        )
    except subprocess.TimeoutExpired:
        raise LrpsError(
            f"Megatron's checks took longer than {seconds:.0f} s for {request['world_size']} ranks.",
            "run it on a machine with less to do.",
        ) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        if "ModuleNotFoundError" in last or "ImportError" in last:
            raise NoVerdictError(
                f"The layout cannot be checked: {last}.",
                "pip install 'megatron-lrps[megatron]'; lrps doctor shows what is there.",
            )
        raise LrpsError(
            f"The layout could not be checked: {last}.", "see whether `lrps doctor` finds this machine fit."
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
