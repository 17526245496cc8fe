"""Logits computed by transformers, in a separate process: ``python transformers_logits.py FOLDER OUT``.

It reads ``{"batches": [[[...], ...], ...], "kept": [...], "config": {...}}`` on stdin, as ``megatron_logits.py`` does;
the last are keys of config.json to compute with in place of the folder's. OUT is an .npz file with one float32
[sequences, kept tokens, vocabulary] for each batch. The keys that transformers misses or does not
expect go to stdout as JSON.
"""

import json
import sys
from pathlib import Path
from typing import Any


def load_model(folder: str, **config: Any) -> Any:
    """Load a folder's model on the CPU in fp32; return it, and what transformers says about its weights.

    Args:
        folder: The folder.
        config: Keys of config.json to compute with in place of the folder's.

    Where transformers does not know the ``model_type``, this takes the class that config.json names; its own type is
    what tells transformers how to read the experts.
    """
    import torch
    import transformers

    kind: Any = transformers.AutoModelForCausalLM
    options: dict[str, Any] = {}
    read = json.loads((Path(folder) / "config.json").read_text("utf-8"))
    if read.get("model_type") not in transformers.CONFIG_MAPPING:
        kind = getattr(transformers, read["architectures"][0])
        options["config"] = kind.config_class.from_dict({**read, "model_type": kind.config_class.model_type})
    return kind.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation="eager",
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
        **options,
        **config,
    )


def main(folder: str, out: str) -> None:
    """Compute the logits in fp32 and write them."""
    import numpy as np
    import torch

    asked = json.load(sys.stdin)
    model, info = load_model(folder, **asked["config"])
    with torch.no_grad():
        logits = [
            model(torch.tensor(batch), use_cache=False).logits[:, -kept:].numpy()
            for batch, kept in zip(asked["batches"], asked["kept"], strict=True)
        ]
    np.savez(out, *logits)
    json.dump({key: sorted(map(str, info.get(key, ()))) for key in ("missing_keys", "unexpected_keys")}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
