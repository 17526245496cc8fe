"""Text that an export writes, in a separate process: ``python -m megatron_lrps.evaluate.written_text FOLDER TOKENS``.

It reads a JSON list of prompts on stdin, and prints the text that follows each as a line of JSON.
"""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from megatron_lrps.convert.helper_process import OFFLINE, ON_CPU, python_lines

SEED = 1234
DRAWN = {"do_sample": True, "top_k": 10, "temperature": 0.8}
"""Draws from the likeliest tokens, because a small model repeats itself with the likeliest one alone."""


def written(folder: Path, prompts: Sequence[str], *, tokens: int) -> list[str]:
    """Return an export's text after each prompt, the same each time. transformers computes it on the CPU.

    Args:
        folder: A Hugging Face folder with its tokenizer.
        prompts: The prompts, each for a text of its own.
        tokens: The number of tokens to write; fewer if the model has no more positions.

    Raises:
        LrpsError: transformers is missing or fails; the error quotes its message.
    """
    arguments = ["-m", "megatron_lrps.evaluate.written_text", str(folder), str(tokens)]
    env, failed = {**OFFLINE, **ON_CPU}, "The export's text failed"
    return list(map(json.loads, python_lines(arguments, given=list(prompts), env=env, failed=failed)))


def main(folder: str, tokens: int) -> None:
    """Write a text for each prompt."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # transformers prints as it likes
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    own: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, **own)
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **own)
    for prompt in json.load(sys.stdin):
        ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False)["input_ids"]
        room = min(tokens, model.config.max_position_embeddings - ids.shape[1])
        torch.manual_seed(SEED)
        drawn = model.generate(ids, min_new_tokens=room, max_new_tokens=room, **DRAWN)
        text = tokenizer.decode(drawn[0, ids.shape[1] :], skip_special_tokens=True)
        print(json.dumps(text), file=out, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
