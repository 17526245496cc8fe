"""Reads a Hugging Face folder as Megatron's HuggingFaceTokenizer does: ``python huggingface_probe.py FOLDER``.

It runs in a separate process, because transformers imports torch if it finds it. That takes seconds and 0.5 GiB, and
a tokenizer does not need it. ``{"additional": [...], "texts": [...]}`` on stdin are the special tokens that Megatron
adds, and the texts to compare readers on. JSON goes to stdout.
"""

import json
import sys
from pathlib import Path
from typing import Any


def read(folder: str, additional: list[str], texts: list[str]) -> dict[str, Any]:
    """Read ``folder`` as Megatron's class does: its ``tokenizers`` JSON, its EOD, and where readers differ."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False, local_files_only=True)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return {"kind": type(tokenizer).__name__, "backend": None}
    differing = _differing(backend, Path(folder) / "tokenizer.json", texts)
    # Megatron names a missing special token after a similar one, which makes that a token that is never split.
    named: dict[str, Any] = {"additional_special_tokens": additional}
    for missing, other in (("sep_token", "eos_token"), ("bos_token", "cls_token")):
        for key, like in ((missing, other), (other, missing)):
            if getattr(tokenizer, key) is None and getattr(tokenizer, like):
                named[key] = getattr(tokenizer, like)
    tokenizer.add_special_tokens(named)
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    eos = tokenizer.eos_token
    return {
        "kind": type(tokenizer).__name__,
        "backend": backend.to_str(),
        "eod": None if eos is None else tokenizer.convert_tokens_to_ids(eos),
        "vocab_size": len(tokenizer),
        "split_special_tokens": bool(getattr(tokenizer, "split_special_tokens", False)),
        "differing": differing,
    }


def _differing(backend: Any, file: Path, texts: list[str]) -> list[Any] | None:
    """Return the first text that tokenizer.json encodes unlike transformers: [text, its ids, transformers' ids]."""
    from tokenizers import Tokenizer

    if not file.exists():
        return None
    own = Tokenizer.from_file(str(file))
    for text in texts:
        pair = [reader.encode(text, add_special_tokens=False).ids for reader in (own, backend)]
        if pair[0] != pair[1]:
            return [text, *pair]
    return None


if __name__ == "__main__":
    sys.modules["torch"] = None  # type: ignore[assignment]  # an import of it fails as if it were not installed
    json.dump(read(sys.argv[1], **json.load(sys.stdin)), sys.stdout)
