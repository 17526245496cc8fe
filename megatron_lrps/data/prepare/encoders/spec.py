"""Reads from a plan which tokenizer encodes its text."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from megatron_lrps.data.prepare.encoders.encoder import TokenizerSpec
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.keys.tokenizers import Tokenizer
from megatron_lrps.plan.keys.values import shown
from megatron_lrps.plan.model import Plan

SUPPORTED = (
    "SentencePieceTokenizer", "GPTSentencePieceTokenizer", "Llama2Tokenizer",
    "HuggingFaceTokenizer", "TikTokenizer", "NullTokenizer",
)  # fmt: skip
"""Megatron's names of the types that are reproduced here. The first three are one class in Megatron."""

SENTENCEPIECE = SUPPORTED[:3]

NO_SPECIAL_TOKENS = "tokenizer-hf-no-include-special-tokens"
NULL_EOD = "null-tokenizer-eod-id"

REFUSED_FLAGS = (
    "merge-file", "tokenizer-hf-no-use-fast", "tokenizer-metadata",
    "tokenizer-sentencepiece-ignore-extra-whitespaces", "tokenizer-sentencepiece-legacy", "trust-remote-code",
    "vocab-file",
)  # fmt: skip
"""Megatron flags with which its tokenizer gives other ids than are written here, or runs code from the folder."""


def spec_of(plan: Plan) -> TokenizerSpec:
    """Return the plan's tokenizer, as it is given to workers.

    Raises:
        RefusedError: There is no tokenizer, its model is missing, or its ids cannot be reproduced here.
    """
    tokenizer = plan.tokenizer
    if tokenizer is None:
        raise RefusedError("The plan has no tokenizer.", "Add `tokenizer: {type: sentencepiece, model: FILE}`.")
    kind = tokenizer.megatron_type
    if kind not in SUPPORTED:
        raise RefusedError(
            f"tokenizer.type: {shown(tokenizer.type)} cannot prepare data; the types are {', '.join(SUPPORTED)}.",
            "Choose one of them, or make the .bin and .idx with Megatron's own tool.",
        )
    for flag in REFUSED_FLAGS:
        if plan.megatron.get(flag, False) is not False:
            raise RefusedError(
                f"megatron.{flag}: {shown(plan.megatron[flag])} changes the ids that Megatron's tokenizer gives.",
                "Remove it, or make the .bin and .idx with Megatron's own tool.",
            )
    if kind == "NullTokenizer":
        return _null_spec(plan, tokenizer.vocab_size)
    model = _model(plan, tokenizer)
    if kind == "HuggingFaceTokenizer":
        from megatron_lrps.data.prepare.encoders.huggingface_folder import read_folder

        folder = read_folder(model, tokenizer.special_tokens or ())
        wrapped = plan.megatron.get(NO_SPECIAL_TOKENS, False) is False
        return TokenizerSpec(type=kind, model=model, eod=folder.eod, wrapped=wrapped, backend=folder.backend)
    return TokenizerSpec(
        type=kind,
        model=model,
        vocab_size=tokenizer.vocab_size,
        pattern=tokenizer.pattern or "v2",
        num_special_tokens=tokenizer.num_special_tokens or 1000,
        special_tokens=tokenizer.special_tokens or (),
    )


def _model(plan: Plan, tokenizer: Tokenizer) -> Path:
    kind = tokenizer.megatron_type
    if tokenizer.model is None:
        raise RefusedError(f"tokenizer.model is missing, and {kind} needs it.", "Name its file in the plan.")
    path = tokenizer.model
    if not path.exists():
        fix = "Correct the path, or set `tokenizer.train` to have it trained."
        raise RefusedError(f"tokenizer.model: {path} does not exist.", fix)
    wants_folder = kind == "HuggingFaceTokenizer"
    if wants_folder is not path.is_dir():
        is_now, needs = ("a file", "a folder") if wants_folder else ("a folder", "a file")
        raise RefusedError(f"tokenizer.model: {path} is {is_now}, and {kind} needs {needs}.", f"Name {needs}.")
    return path


def _null_spec(plan: Plan, vocab_size: int | None) -> TokenizerSpec:
    if vocab_size is None:
        raise RefusedError(
            "tokenizer.vocab_size is missing, and a null tokenizer needs it.", "Set tokenizer.vocab_size."
        )
    eod = plan.megatron.get(NULL_EOD, vocab_size - 1)
    if isinstance(eod, bool) or not isinstance(eod, int) or not 0 <= eod < vocab_size:
        raise RefusedError(
            f"megatron.{NULL_EOD}: {shown(eod)} is not an id below vocab_size {vocab_size}.",
            "Correct it, or remove it.",
        )
    return TokenizerSpec(type="NullTokenizer", vocab_size=vocab_size, eod=eod)


def spec_of_arguments(args: Mapping[str, Any]) -> TokenizerSpec | None:
    """Return the tokenizer that a checkpoint's arguments name; None if it is not here, or cannot be reproduced here.

    Args:
        args: Megatron's arguments, by destination.
    """
    kind, model = args.get("tokenizer_type"), args.get("tokenizer_model")
    if kind == "NullTokenizer" and isinstance(args.get("vocab_size"), int):
        eod = args.get("null_tokenizer_eod_id")
        return TokenizerSpec(
            type=kind, vocab_size=args["vocab_size"], eod=args["vocab_size"] - 1 if eod is None else eod
        )
    path = Path(model) if isinstance(model, str) else None
    if kind not in (*SENTENCEPIECE, "HuggingFaceTokenizer") or path is None or not path.exists():
        return None
    if kind != "HuggingFaceTokenizer":
        return TokenizerSpec(type=kind, model=path)
    if not path.is_dir():
        return None
    from megatron_lrps.data.prepare.encoders.huggingface_folder import read_folder

    folder = read_folder(path, ())
    wrapped = not args.get("tokenizer_hf_no_include_special_tokens")
    return TokenizerSpec(type=kind, model=path, eod=folder.eod, wrapped=wrapped, backend=folder.backend)
