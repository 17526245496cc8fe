"""The ids that transformers gives for texts: ``python transformers_ids.py FOLDER``.

It reads ``{"texts": [...], "special": true}`` on stdin and prints ``{"ids": [...]}``. ``special`` keeps the BOS and EOS
that the tokenizer adds. It runs in a separate process, because transformers imports torch wherever it finds it.
"""

import json
import sys


def main(folder: str) -> None:
    """Read the folder as any user would."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    asked = json.load(sys.stdin)
    ids = [tokenizer(text, add_special_tokens=asked["special"])["input_ids"] for text in asked["texts"]]
    json.dump({"ids": ids}, sys.stdout)


if __name__ == "__main__":
    sys.modules["torch"] = None  # type: ignore[assignment]  # an import of it fails as if it were not installed
    main(sys.argv[1])
