"""Score a checkpoint or an export without a plan: perplexity, bits per byte, tasks. The flags have Megatron-LM's names.

    python tools/evaluate_branch.py --load run/checkpoints --seq-length 2048 --valid-data-path web data/web \
        code data/code --tokenizer-type SentencePieceTokenizer --tokenizer-model tokenizer.model
    python tools/evaluate_branch.py --hf exports/v1 ... --tasks arc_easy hellaswag

``--load`` is one torch_dist checkpoint, or Megatron's ``--save`` folder, whose newest checkpoint is taken. Megatron
computes its scores on the CPU. ``--hf`` is a Hugging Face folder. transformers computes its scores, and lm-eval those
of ``--tasks``. The output is JSON with the keys of `lrps eval --json` (docs/json.md). To keep and compare the scores
of a version, use `lrps eval`.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from convert_checkpoint import ended, newest, tokenizer_of

from megatron_lrps.errors import RefusedError
from megatron_lrps.evaluate.lm_eval_tasks import has_gpu, score_tasks
from megatron_lrps.evaluate.perplexity import scored
from megatron_lrps.plan.keys.scoring_and_release import Evaluation


def parser() -> argparse.ArgumentParser:
    """The command line."""
    assert __doc__
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = flags.add_mutually_exclusive_group(required=True)
    source.add_argument("--load", type=Path, help="a torch_dist checkpoint, or a folder of them")
    source.add_argument("--hf", type=Path, help="a Hugging Face folder")
    flags.add_argument(
        "--valid-data-path",
        nargs="+",
        default=[],
        metavar="NAME PREFIX",
        help="a name and an index prefix for each set",
    )
    flags.add_argument("--seq-length", type=int, help="the number of tokens in a window")
    flags.add_argument("--eval-tokens", type=int, help="the largest number of tokens of a set")
    flags.add_argument("--tokenizer-type", help="Megatron's name of the tokenizer; needed for perplexity")
    flags.add_argument("--tokenizer-model", help="a file, or a folder for HuggingFaceTokenizer")
    flags.add_argument("--vocab-size", type=int, help="the vocabulary of NullTokenizer or TikTokenizer")
    flags.add_argument("--tasks", nargs="+", default=[], help="names of lm-eval tasks")
    flags.add_argument(
        "--task-folder", type=Path, help="a folder with task files of your own; nothing is downloaded then"
    )
    flags.add_argument("--num-fewshot", type=int, help="the number of examples in a prompt")
    flags.add_argument("--limit", type=int, help="the largest number of documents of a task")
    flags.add_argument("--backend", choices=["hf", "vllm"], default="hf")
    flags.add_argument("--batch-size", type=int, default=8)
    return flags


def evaluate(args: argparse.Namespace) -> dict[str, object]:
    """Score what the flags name; raises LrpsError."""
    found: dict[str, object] = {}
    if args.valid_data_path:
        names = args.valid_data_path
        if len(names) % 2 or not args.seq_length or not args.tokenizer_type:
            raise RefusedError(
                f"--valid-data-path has {len(names)} words, --seq-length is {args.seq_length}, --tokenizer-type is "
                f"{args.tokenizer_type}.",
                "give a name before each prefix, --seq-length and --tokenizer-type.",
            )
        sets = {name: Path(prefix) for name, prefix in zip(names[::2], names[1::2], strict=True)}
        engine, folder = ("megatron", newest(args.load)) if args.load else ("export", args.hf)
        spec = tokenizer_of(args)
        found["perplexity"] = dict(
            scored(sets, spec, folder, engine=engine, length=args.seq_length, limit=args.eval_tokens)
        )
    if args.tasks:
        if args.hf is None:
            raise RefusedError(
                "--tasks needs --hf, because lm-eval computes with transformers.", "export the checkpoint first."
            )
        asked = Evaluation(
            tasks=tuple(args.tasks),
            few_shot=args.num_fewshot,
            limit=args.limit,
            backend=args.backend,
            batch_size=args.batch_size,
        )
        folder = args.task_folder.resolve() if args.task_folder else None
        found["tasks"] = score_tasks(args.hf, asked.tasks, asked, task_folder=folder, gpu=has_gpu())[0]
    if not found:
        raise RefusedError("Neither --valid-data-path nor --tasks is given.", "give one of them.")
    return found


def main(arguments: list[str]) -> int:
    """Evaluate, and print JSON; returns the exit code."""
    args = parser().parse_args(arguments)
    return ended(lambda: json.dumps(evaluate(args), indent=2))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
