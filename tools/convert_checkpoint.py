"""Convert checkpoints to and from Hugging Face folders without a plan. The flags are those of Megatron-LM's converter.

    python tools/convert_checkpoint.py --loader torch_dist --saver huggingface --load-dir run/checkpoints \
        --save-dir hf --tokenizer-type SentencePieceTokenizer --tokenizer-model tokenizer.model
    python tools/convert_checkpoint.py --loader huggingface --saver torch_dist --load-dir hf --save-dir start
    python tools/convert_checkpoint.py --loader torch_dist --saver torch_dist --load-dir run/checkpoints \
        --save-dir tp4 --target-tensor-parallel-size 4 --tokenizer-type ...

With torch_dist, ``--load-dir`` is one checkpoint (iter_0000123) or Megatron's ``--save`` folder, whose newest
checkpoint is taken. The savers torch_dist and torch (one file) write the weights alone (docs/convert.md). Only `lrps
export` writes a model card with the version's lineage, because it knows the plan.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from megatron_lrps.campaign.checkpoint import Checkpoints, is_complete
from megatron_lrps.convert.export_tokenizer import write_tokenizer
from megatron_lrps.convert.huggingface_config import config_of
from megatron_lrps.convert.huggingface_export import plan_export, write_export
from megatron_lrps.convert.huggingface_import import WITHOUT_ITERATION, plan_import, write_import
from megatron_lrps.convert.layout import Layout
from megatron_lrps.convert.megatron_export import plan_weights, write_torch, write_torch_dist
from megatron_lrps.convert.torch_dist import open_checkpoint
from megatron_lrps.data.prepare.encoders import spec_of
from megatron_lrps.data.prepare.encoders.choose import load_reference
from megatron_lrps.data.prepare.encoders.encoder import TokenizerSpec
from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.plan import Plan
from megatron_lrps.storage.files import write_atomic

LOADERS = ("torch_dist", "huggingface")
SAVERS = (*LOADERS, "torch")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    assert __doc__
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--model-type", choices=["GPT"], default="GPT")
    flags.add_argument("--loader", choices=LOADERS, required=True)
    flags.add_argument("--saver", choices=SAVERS, required=True)
    flags.add_argument("--load-dir", type=Path, required=True)
    flags.add_argument("--save-dir", type=Path, required=True, help="a folder that does not exist yet")
    flags.add_argument(
        "--tokenizer-type",
        help="Megatron's name of the tokenizer; needed with --loader torch_dist, to tell tokens from padding",
    )
    flags.add_argument("--tokenizer-model", help="a file, or a folder for HuggingFaceTokenizer")
    flags.add_argument("--vocab-size", type=int, help="the vocabulary of NullTokenizer or TikTokenizer")
    flags.add_argument(
        "--target-tensor-parallel-size", type=int, help="the layout to convert torch_dist to; 1 by default"
    )
    flags.add_argument(
        "--target-pipeline-parallel-size", type=int, help="the layout to convert torch_dist to; 1 by default"
    )
    flags.add_argument(
        "--target-expert-parallel-size", type=int, help="the layout to convert torch_dist to; 1 by default"
    )
    flags.add_argument(
        "--dtype", choices=["bf16", "fp32"], help="the dtype to write; by default what was saved is kept"
    )
    flags.add_argument("--family", help="with --saver huggingface: the family, where the model fits another one too")
    return flags


def newest(folder: Path) -> Path:
    """The checkpoint that ``folder`` is, or the newest complete one in it; raises RefusedError."""
    if is_complete(folder):
        return folder
    saved = Checkpoints.in_folder(folder)
    if saved.newest is not None:
        return saved.at(saved.newest).folder
    if is_complete(folder / WITHOUT_ITERATION):
        return folder / WITHOUT_ITERATION
    raise RefusedError(f"{folder} is no complete torch_dist checkpoint, and holds none.", "correct --load-dir.")


def tokenizer_of(args: argparse.Namespace) -> TokenizerSpec:
    """The tokenizer that the flags name; raises RefusedError."""
    if args.tokenizer_type is None:
        raise RefusedError(
            "--tokenizer-type is not given, so padding cannot be told from tokens.", "add --tokenizer-type."
        )
    keys = {"type": args.tokenizer_type, "model": args.tokenizer_model, "vocab_size": args.vocab_size}
    version = {"name": "v1", "iters": 1, "train": [[1.0, "data"]]}
    plan = Plan.model_validate(
        {
            "campaign": "convert",
            "save": ".",
            "sequence_length": 1,
            "global_batch_size": 1,
            "versions": [version],
            "tokenizer": {key: value for key, value in keys.items() if value is not None},
        }
    )
    return spec_of(plan)


def export(args: argparse.Namespace) -> str:
    """To Hugging Face; returns what to say."""
    spec = tokenizer_of(args)
    encoder = load_reference(spec)
    opened = open_checkpoint(newest(args.load_dir))
    planned = plan_export(opened, vocab=encoder.vocab_size, dtype=args.dtype, family=args.family)
    said = []

    def around(hidden: Path) -> None:
        kind = str(planned.main_dtype).removeprefix("torch.")
        config = config_of(planned.model, dtype=kind, bos=None, eos=encoder.eod)
        write_atomic(hidden / "config.json", json.dumps(config, indent=2) + "\n")
        said.append(write_tokenizer(spec, hidden, max_length=planned.model.positions).statement)

    done = write_export(planned, args.save_dir, around=around)
    return f"{args.save_dir}: {done.tensors} weights, {done.bytes / 1e9:.3f} GB. {said[0]}"


def export_for_megatron(args: argparse.Namespace) -> str:
    """To torch_dist at another layout, or one file; returns what to say."""
    layout = Layout(
        tensor=args.target_tensor_parallel_size or 1,
        pipeline=args.target_pipeline_parallel_size or 1,
        expert=args.target_expert_parallel_size or 1,
    )
    vocab = load_reference(tokenizer_of(args)).vocab_size
    weights = plan_weights(open_checkpoint(newest(args.load_dir)), vocab=vocab, layout=layout, dtype=args.dtype)
    write = write_torch if args.saver == "torch" else write_torch_dist
    done = write(weights, args.save_dir, around=lambda hidden: None)
    said = f"{args.save_dir}: {done.tensors} weights, {done.bytes / 1e9:.3f} GB."
    return said if args.saver == "torch" else f"{said} Megatron loads it with {' '.join(weights.flags)}"


def main(arguments: list[str]) -> int:
    """Convert, and say what came out; returns the exit code."""
    args = parser().parse_args(arguments)
    if args.loader == "huggingface" and args.saver != "torch_dist":
        parser().error(f"--loader huggingface goes to --saver torch_dist, not to {args.saver}")
    layouts = (args.target_tensor_parallel_size, args.target_pipeline_parallel_size, args.target_expert_parallel_size)
    if any(layouts) and (args.loader, args.saver) != ("torch_dist", "torch_dist"):
        parser().error("--target-*-parallel-size is for --loader torch_dist --saver torch_dist")
    if args.loader == "huggingface":
        work = import_folder
    else:
        work = export if args.saver == "huggingface" else export_for_megatron
    return ended(lambda: work(args))


def import_folder(args: argparse.Namespace) -> str:
    """From Hugging Face; returns what to say."""
    done = write_import(plan_import(args.load_dir), args.save_dir)
    return f"{done.folder}: a {done.model.family} model, {done.bytes / 1e9:.3f} GB."


def ended(work: Callable[[], str]) -> int:
    """Print what the work has to say, or why it could not be done; returns the exit code."""
    try:
        print(work())
    except LrpsError as error:
        print(str(error), file=sys.stderr)
        return error.exit_code
    except ValueError as error:
        print(f"The flags do not fit together: {error}", file=sys.stderr)
        return RefusedError.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
