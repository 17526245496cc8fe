"""Train a tokenizer on text files: what `lrps prepare` does for a plan's ``tokenizer.train``, without a plan.

    python tools/train_tokenizer.py --input data/*.jsonl --vocab-size 32000 --output tokenizer.model
    python tools/train_tokenizer.py --input "data/**/*.txt" --model-type bytelevel --vocab-size 32000 --output tokenizer

``bpe`` and ``unigram`` make a sentencepiece model file (Megatron's SentencePieceTokenizer), ``bytelevel`` a Hugging
Face folder (Megatron's HuggingFaceTokenizer). The same files in the same order give the same bytes.
"""

import argparse
import glob
import json
import sys
from collections.abc import Iterator
from pathlib import Path

from megatron_lrps.data.prepare.train_tokenizer import train_tokenizer
from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.plan.keys.tokenizers import Tokenizer, TokenizerTraining


def files_of(patterns: list[str]) -> list[Path]:
    """The files that names and globs stand for, in the given order; those of a glob are sorted. Raises RefusedError."""
    files: list[Path] = []
    for pattern in patterns:
        # A file may have brackets in its name.
        found = [pattern] if Path(pattern).is_file() else sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
        if not found:
            raise RefusedError(f"--input {pattern} is not a file, and matches none.", "Correct the path.")
        files += [path for path in map(Path, found) if path.is_file()]
    return files


def texts_of(files: list[Path], key: str) -> Iterator[str]:
    """The documents of JSON Lines (.jsonl, .json: the text under ``key``) and plain text files. Raises RefusedError."""
    for file in files:
        try:
            if file.suffix not in (".jsonl", ".json"):
                yield file.read_text(encoding="utf-8")
                continue
            with file.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    text = json.loads(line)[key] if line.strip() else ""
                    if not isinstance(text, str):
                        raise RefusedError(f"{file}, line {number}: {key} is not text.", "Name another --json-key.")
                    yield text
        except (OSError, ValueError, KeyError, TypeError) as error:
            what = f"{file} cannot be read: {type(error).__name__}: {error}."
            raise RefusedError(what, "Correct it, leave it out, or name another --json-key.") from error


def main(arguments: list[str]) -> int:
    """Train, print what came out, and return the exit code."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--input", nargs="+", required=True, help="files or quoted globs: .jsonl, .json lines, or text")
    parser.add_argument("--json-key", default="text", help="the field that holds a document's text")
    parser.add_argument("--model-type", choices=("bpe", "unigram", "bytelevel"), default="bpe")
    parser.add_argument("--vocab-size", type=int, required=True, help="tokens, bytes and special ones included")
    parser.add_argument("--megabytes", type=int, default=50, help="how much of the text is read, from the beginning")
    parser.add_argument("--output", type=Path, required=True, help="the model file; for bytelevel the folder")
    args = parser.parse_args(arguments)
    if args.vocab_size < 1 or args.megabytes < 1:
        parser.error("--vocab-size and --megabytes must be at least 1")
    byte_level = args.model_type == "bytelevel"
    training = TokenizerTraining(
        algorithm="bpe" if byte_level else args.model_type, vocab_size=args.vocab_size, megabytes=args.megabytes
    )
    kind = "huggingface" if byte_level else "sentencepiece"
    try:
        tokenizer = Tokenizer(type=kind, model=str(args.output), train=training)
        facts = train_tokenizer(tokenizer, texts_of(files_of(args.input), args.json_key), args.output)
    except LrpsError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(
        f"{args.output}: {facts.vocab_size} tokens from {facts.documents} documents, "
        f"{facts.text_bytes / 1e6:.1f} MB; sha256 {facts.sha256}\n"
        f"In a plan: tokenizer: {{type: {kind}, model: {args.output}}}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
