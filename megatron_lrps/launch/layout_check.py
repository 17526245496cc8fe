"""Checks that Megatron accepts a plan's parallel layout, and what each GPU would hold, without the cluster.

Megatron's checks run in a process of their own (``training.megatron.model_shards``), because they need torch and patch
its answers about CUDA.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from typing import Any

from megatron_lrps.campaign.campaign import Campaign
from megatron_lrps.campaign.checkpoint import Checkpoint
from megatron_lrps.campaign.standing import standing_of
from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.plan import Plan
from megatron_lrps.plan.flags import argument_line, path_flags
from megatron_lrps.plan.megatron_fixes import fix_of
from megatron_lrps.plan.parallel_layout import ranks_of
from megatron_lrps.plan.vocabulary import ASSUMED_VOCABULARY

CHECKER = "megatron_lrps.training.megatron.model_shards"
GPU_BYTES = 80 * 10**9
"""The memory of one H100, in bytes."""
_TIMEOUT_S = 600.0
SUBMIT_S = 120.0
"""The time limit of the checks in `lrps submit`, in seconds."""

_NEEDS_TE = re.compile(r"\bTE\b|transformer.?engine", re.IGNORECASE)


class NoVerdictError(RefusedError):
    """This machine cannot judge the plan, because Megatron or Transformer Engine is not installed."""


def check_before_submit(campaign: Campaign) -> str:
    """Ask Megatron, if it is on this machine, whether it would refuse a path; this takes two minutes at most.

    Returns:
        What only the jobs will find out, or an empty text.

    Raises:
        RefusedError: Megatron refuses a path; it holds Megatron's message and the fix.
    """
    try:
        here = all(importlib.util.find_spec(name) for name in ("torch", "megatron.core"))
    except ImportError:
        here = False
    if not here:
        return "Megatron is not on this machine: what it says of the layout is left to the jobs."
    try:
        check_layout(campaign, seconds=SUBMIT_S)
    except NoVerdictError as unproven:
        return f"Left to the jobs: {unproven.what}"
    except RefusedError as refusal:
        raise RefusedError(
            refusal.what, f"{refusal.fix} (--no-check submits all the same, for jobs with another Megatron.)"
        ) from None
    except LrpsError as unknown:
        return f"Left to the jobs: {unknown.what}"
    return ""


def check_layout(campaign: Campaign, *, seconds: float = _TIMEOUT_S) -> dict[str, Any]:
    """Let Megatron check the argument line of every path for the plan's world size.

    Args:
        campaign: The campaign.
        seconds: The time that the checks may take.

    Returns:
        ``world_size``, ``assumed_vocabulary`` (in tokens; None if the vocabulary is known), ``transformer_engine``
        (whether it is installed here), ``gpu_bytes``, and ``paths``: the result of ``model_shards.check`` for each.

    Raises:
        RefusedError: Megatron refuses a path; it holds Megatron's message and the fix.
        NoVerdictError: Megatron, or what the plan needs besides it, is not installed here.
        LrpsError: the checks took too long or ended by themselves; it holds their last line.
    """
    plan, ranks = campaign.plan, ranks_of(campaign.plan)
    vocabulary, assumed = _vocabulary(plan)
    lines = {path.name: argument_line(path_flags(campaign.tree, path)) for path in campaign.paths}
    # With an assumed vocabulary every adopted run would look like another model.
    adopted = {} if assumed else _adopted(campaign)
    batches = campaign.tree.batches.to_json()
    request = {"world_size": ranks, "lines": lines, "vocabulary": vocabulary, "batches": batches, "adopted": adopted}
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


def _adopted(campaign: Campaign) -> dict[str, tuple[str, int]]:
    """Return folder and iteration of each checkpoint still to be adopted, if it is here and whole."""
    found = {}
    for path in campaign.paths:
        state = standing_of(campaign, path)
        if path.adopted is not None and state.saved is None and state.ready:
            found[path.name] = (str(Checkpoint(path.adopted, path.fork)), path.fork)
    return found


def _vocabulary(plan: Plan) -> tuple[int | None, bool]:
    """Return the number of tokens (None: the tokenizer is here and gives it), and whether it is assumed."""
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
            # The checker pretends that there are GPUs, so it must not find real ones.
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
