"""Logits computed by transformers, in a separate process: ``python transformers_logits.py FOLDER OUT``.

It reads ``{"batches": [[[...], ...], ...], "kept": [...]}`` on stdin, as ``megatron_logits.py`` does. OUT is an .npz
file with one float32 [sequences, kept tokens, vocabulary] for each batch. The keys that transformers misses or does not
expect go to stdout as JSON.
"""

import json
import sys
from typing import Any


def main(folder: str, out: str) -> None:
    """Compute the logits in fp32 and write them."""
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        attn_implementation="eager",
        trust_remote_code=False,
        local_files_only=True,
        output_loading_info=True,
    )
    model, info = loaded
    asked = json.load(sys.stdin)
    with torch.no_grad():
        logits = [
            model(torch.tensor(batch), use_cache=False).logits[:, -kept:].numpy()
            for batch, kept in zip(asked["batches"], asked["kept"], strict=True)
        ]
    np.savez(out, *logits)
    json.dump({key: sorted(map(str, info.get(key, ()))) for key in ("missing_keys", "unexpected_keys")}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
