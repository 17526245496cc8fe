"""Logits computed by transformers, in a separate process: ``python transformers_logits.py FOLDER OUT``.

It reads ``{"tokens": [[...], ...]}`` on stdin. OUT is a .npy file, float32 [sequences, tokens, vocabulary]. The keys
that transformers misses or does not expect go to stdout as JSON.
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
    with torch.no_grad():
        logits = model(torch.tensor(json.load(sys.stdin)["tokens"])).logits
    np.save(out, logits.numpy())
    json.dump({key: sorted(map(str, info.get(key, ()))) for key in ("missing_keys", "unexpected_keys")}, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
