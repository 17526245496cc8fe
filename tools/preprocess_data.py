"""Megatron-LM's ``tools/preprocess_data.py`` by its own flag names, through the encoders of `lrps prepare`.

    python tools/preprocess_data.py --input data.jsonl --output-prefix data/web --tokenizer-type HuggingFaceTokenizer \
        --tokenizer-model tokenizer --append-eod --workers 16

writes ``data/web_text_document.bin`` and ``.idx``, byte for byte what Megatron's tool writes. ``--input`` may be a
glob, and packed (.gz, .zst). A stopped job continues. Sentence splitting needs Megatron's own tool.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from megatron_lrps.data.prepare.encoders import spec_of
from megatron_lrps.data.prepare.find import find_sources
from megatron_lrps.data.prepare.job import Reporter, prepare_sources, stoppable
from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.plan import Plan


def parser() -> argparse.ArgumentParser:
    """The flags."""
    assert __doc__
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--input", required=True, help="a JSON Lines file, or a quoted glob")
    flags.add_argument("--json-keys", nargs="+", default=["text"], help="fields; each gets an index of its own")
    flags.add_argument("--output-prefix", required=True, type=Path)
    flags.add_argument("--tokenizer-type", required=True, help="Megatron's name, e.g. SentencePieceTokenizer")
    flags.add_argument("--tokenizer-model", help="a file, or for HuggingFaceTokenizer a folder")
    flags.add_argument("--vocab-size", type=int)
    flags.add_argument("--tiktoken-pattern")
    flags.add_argument("--tiktoken-num-special-tokens", type=int)
    flags.add_argument("--tiktoken-special-tokens", nargs="+")
    flags.add_argument("--append-eod", action="store_true", help="needed: documents without an end are not written")
    flags.add_argument("--workers", type=int, required=True)
    flags.add_argument("--force", action="store_true", help="replace indexes that were made from something else")
    for name, kind in (("partitions", int), ("log-interval", int)):
        flags.add_argument(f"--{name}", type=kind, help="accepted, changes nothing")
    flags.add_argument("--keep-sequential-samples", action="store_true", help="accepted: the order is always kept")
    for name in ("split-sentences", "keep-newlines", "find-optimal-num-workers"):
        flags.add_argument(f"--{name}", action="store_true", help="refused")
    return flags


def plan_of(args: argparse.Namespace) -> Plan:
    """A plan with a source for each field, from the flags. Raises RefusedError."""
    for refused in ("split_sentences", "keep_newlines", "find_optimal_num_workers"):
        if getattr(args, refused):
            raise RefusedError(f"--{refused.replace('_', '-')} is not supported.", "Use Megatron-LM's own tool for it.")
    if not args.append_eod:
        raise RefusedError("--append-eod is not given, and documents without an end are not written.", "Add it.")
    tokenizer: dict[str, Any] = {
        "type": args.tokenizer_type,
        "model": args.tokenizer_model,
        "vocab_size": args.vocab_size,
        "pattern": args.tiktoken_pattern,
        "num_special_tokens": args.tiktoken_num_special_tokens,
        "special_tokens": args.tiktoken_special_tokens,
    }
    prefixes = {key: f"{args.output_prefix}_{key}_document" for key in args.json_keys}
    sources = {
        prefix: {"files": args.input, "format": "jsonl", "field": key, "max_unreadable": 0.0}
        for key, prefix in prefixes.items()
    }
    train = [[1.0, prefix] for prefix in prefixes.values()]
    return Plan.model_validate(
        {
            "campaign": "preprocess",
            "save": ".",
            "sequence_length": 1,
            "global_batch_size": 1,
            "versions": [{"name": "v1", "iters": 1, "train": train, "sources": sources}],
            "tokenizer": {key: value for key, value in tokenizer.items() if value is not None},
        }
    )


def main(arguments: list[str]) -> int:
    """Make the indexes, print what came out, and return the exit code."""
    args = parser().parse_args(arguments)
    if args.workers < 1:
        parser().error("--workers must be at least 1")

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    reporter = Reporter(begin=lambda size: None, advance=lambda text, tokens: None, say=say)
    try:
        with stoppable():
            plan = plan_of(args)
            sources, spec = find_sources(plan), spec_of(plan)
            made = prepare_sources(sources, spec, workers=args.workers, force=args.force, reporter=reporter)
    except LrpsError as error:
        say(str(error))
        return error.exit_code
    except ValueError as error:
        say(f"The flags do not fit together: {error}")
        return RefusedError.exit_code
    for index in made:
        rate = index.text_bytes / 1e6 / max(index.seconds, 1e-9)
        how = f"{rate:.1f} MB/s by {', '.join(index.engines)}" if index.fresh else "was there"
        print(
            "; ".join((f"{index.prefix}: {index.documents} documents, {index.tokens} tokens, {how}", *index.remarked()))
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
