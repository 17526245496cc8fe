"""The loss on validation sets, computed in a separate process: ``python -m megatron_lrps.evaluate.validation_loss``.

On stdin ``{"engine": "export" or "megatron", "folder": ..., "vocab": ..., "length": ..., "limit": ... or null,
"sets": {name: prefix}}``. A line of JSON for each set goes to stdout as it is done: ``set``, ``loss_sum`` (nats),
``tokens`` (predicted), ``device``, ``dtype``. Only the vocabulary's own logits take part, not Megatron's padding.
"""

import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from megatron_lrps.evaluate.validation_tokens import TokenWindows, read_windows

_BATCH_TOKENS = 4096
"""The number of tokens predicted at a time, but one window at least: the logits of a batch are its largest tensor."""


def batches(windows: TokenWindows) -> Iterator[Any]:
    """Stack windows of one length: int64 [batch, length + 1]."""
    size = max(1, _BATCH_TOKENS // windows.length)
    for rows in itertools.batched(iter(windows), size):
        if len(rows[-1]) == len(rows[0]):
            yield np.stack(rows)
        else:  # the last window alone may be shorter
            yield np.stack(rows[:-1])
            yield np.stack(rows[-1:])


def loss_sum(logits: Callable[[Any], Any], rows: Iterable[Any], vocab: int, device: str) -> tuple[float, int]:
    """Return the sum of the losses in nats, and the number of tokens that were predicted.

    Args:
        logits: Returns the logits [batch, length, vocabulary or more] of ids [batch, length].
        rows: The batches, [batch, length + 1].
        vocab: The size of the vocabulary; the logits behind it are padding.
        device: The device of the ids.
    """
    import torch

    total, count = 0.0, 0
    with torch.inference_mode():
        for row in rows:
            ids = torch.from_numpy(row).to(device)
            scores = logits(ids[:, :-1])[..., :vocab].float()
            loss = torch.nn.functional.cross_entropy(scores.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
            total += float(loss.double().sum())
            count += loss.numel()
    return total, count


def by_transformers(folder: str) -> tuple[Callable[[Any], Any], str, str]:
    """Load the export with transformers: its logits, its device, and the dtype that it computes in.

    On GPUs it keeps the export's own dtype, and accelerate spreads it over them. On a CPU it is fp32.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from megatron_lrps.convert.safetensors import dtype_name

    gpu = torch.cuda.is_available()
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype="auto" if gpu else torch.float32,
        device_map="auto" if gpu else None,
        trust_remote_code=False,
        local_files_only=True,
    )
    model.eval()
    device = "cuda" if gpu else "cpu"
    return lambda ids: model(ids, use_cache=False).logits, device, dtype_name(model.dtype)


def by_megatron(folder: str) -> tuple[Callable[[Any], Any], str, str]:
    """Load the checkpoint into Megatron's own model, on the CPU in fp32: its logits, device and dtype."""
    from megatron_lrps.convert.megatron_logits import load_model, logits_of

    return partial(logits_of, load_model(Path(folder))), "cpu", "float32"


def main() -> None:
    """Compute the loss of each set and print it."""
    asked = json.load(sys.stdin)
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Megatron and transformers print as they like
    engine = {"export": by_transformers, "megatron": by_megatron}[asked["engine"]]
    logits, device, dtype = engine(asked["folder"])
    for name, prefix in asked["sets"].items():
        windows = read_windows(Path(prefix), length=asked["length"], limit=asked["limit"])
        total, count = loss_sum(logits, batches(windows), asked["vocab"], device)
        line = {"set": name, "loss_sum": total, "tokens": count, "device": device, "dtype": dtype}
        print(json.dumps(line), file=out, flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(len(os.sched_getaffinity(0))))
    main()
