"""Ids that transformers gives: ``python transformers_ids.py FOLDER``; JSON goes in and out.

``{"texts": [...], "special": true}`` on stdin, ``special``: with BOS and EOS where the tokenizer adds them.

A process of its own because transformers imports torch where it finds it.
"""

import json
import sys


def main(folder: str) -> None:
    """Read the folder as any user of it does."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    asked = json.load(sys.stdin)
    ids = [tokenizer(text, add_special_tokens=asked["special"])["input_ids"] for text in asked["texts"]]
    json.dump({"ids": ids}, sys.stdout)


if __name__ == "__main__":
    sys.modules["torch"] = None  # type: ignore[assignment]  # an import of it fails as if it were not installed
    main(sys.argv[1])
