"""The first plan of a campaign, with comments, made from the few facts that only its user knows."""

import json
import re
import textwrap
from dataclasses import dataclass

SCHEMA_FILE = "plan.schema.json"
"""The JSON schema beside the plan, for editors."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """A model and its training settings, with which a draft begins.

    Attributes:
        about: Its purpose, as a phrase.
        sequence_length: Tokens per sample.
        global_batch_size: Samples per iteration.
        max_lr: The maximal learning rate; the minimal one is a tenth.
        vocab_size: The vocabulary size of the trained tokenizer, if there is enough text.
        max_iters: The maximum iterations that are proposed for a version.
        flags: The flags of Megatron.
    """

    about: str
    sequence_length: int
    global_batch_size: int
    max_lr: str
    min_lr: str
    vocab_size: int
    max_iters: int
    flags: dict[str, str]

    @property
    def tokens(self) -> int:
        """The number of tokens in an iteration."""
        return self.sequence_length * self.global_batch_size


def _llama(layers: int, hidden: int, ffn: int, heads: int, **more: str) -> dict[str, str]:
    return {
        "num-layers": str(layers),
        "hidden-size": str(hidden),
        "ffn-hidden-size": str(ffn),
        "num-attention-heads": str(heads),
        "swiglu": "true",
        "normalization": "RMSNorm",
        "position-embedding-type": "rope",
        "disable-bias-linear": "true",
        "untie-embeddings-and-output-weights": "true",
        "attention-dropout": "0.0",
        "hidden-dropout": "0.0",
        **{flag.replace("_", "-"): value for flag, value in more.items()},
    }


_ON_GPUS = {"bf16": "true", "adam_beta2": "0.95", "weight_decay": "0.1", "clip_grad": "1.0"}
SIZES = {
    "tiny": Size(
        about="0.8M parameters, for a CPU and a few minutes",
        sequence_length=128, global_batch_size=8, max_lr="2.0e-3", min_lr="2.0e-4",
        vocab_size=2048, max_iters=200,
        flags=_llama(4, 96, 256, 4, micro_batch_size="8"),
    ),
    "125m": Size(
        about="0.13B parameters, for one GPU or a few",
        sequence_length=2048, global_batch_size=256, max_lr="6.0e-4", min_lr="6.0e-5",
        vocab_size=32000, max_iters=10_000,
        flags=_llama(12, 768, 2048, 12, **_ON_GPUS, micro_batch_size="8"),
    ),
    "1b": Size(
        about="1.35B parameters, the paper's setting, for a few nodes of GPUs",
        sequence_length=2048, global_batch_size=1024, max_lr="3.0e-4", min_lr="3.0e-5",
        vocab_size=32000, max_iters=10_000,
        flags=_llama(
            24, 2048, 5504, 16, **_ON_GPUS, micro_batch_size="8", use_distributed_optimizer="true",
            overlap_grad_reduce="true", overlap_param_gather="true",
        ),
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Text:
    """Raw text as the plan names it: a file, a folder or a glob; ``documents`` if it is plain text."""

    files: str
    documents: str | None = None


@dataclass(frozen=True, kw_only=True)
class Draft:
    """The values of the first plan.

    Attributes:
        name: The name of the campaign.
        train: The text of each version.
        valid: The held-out text.
        size: A key of ``SIZES``.
        vocab_size: The vocabulary size of the trained tokenizer.
        length: The length of each version in the plan: (``iters`` or ``tokens``, a count).
        iters: The same length in iterations.
        device: ``cpu`` or ``gpu``.
        why: The reason for this device, which becomes a comment.
        processes: Ranks on this machine.
    """

    name: str
    train: tuple[Text, ...]
    valid: Text
    size: str
    vocab_size: int
    length: tuple[str, str]
    iters: int
    device: str
    why: str
    processes: int


def draft_text(draft: Draft) -> str:
    """Return the text of the plan file."""
    size = SIZES[draft.size]
    flags = {**size.flags, "save-interval": _every(draft.iters, 4), "eval-interval": _every(draft.iters, 2)}
    versions = "".join(
        _version(number, text, draft.length, None if number > 1 else draft.valid)
        for number, text in enumerate(draft.train, 1)
    )
    return f"""\
# yaml-language-server: $schema={SCHEMA_FILE}
# Every key: docs/plan.md, or `lrps schema --markdown`. Relative paths start at this file's folder.
campaign: {draft.name}
save: runs/{draft.name}  # checkpoints, logs, exports, scores and reports

# Main trains at the maximal rate for ever. Each version forks off it and decays to the minimum over the last 60 %
# of its own iterations.
lr: {{max: {size.max_lr}, min: {size.min_lr}, warmup_iters: {warmup_of(draft.iters)}}}
decay: {{shape: cosine, alpha: 0.6}}
# merge: {{window: 0.2, checkpoints: 10}} # versions that are means of main's checkpoints instead, and cost no iteration

sequence_length: {size.sequence_length}
global_batch_size: {size.global_batch_size}  # {size.tokens:,} tokens an iteration; it stays

# A version is a model to release, and the new text that it adds. When more text has come in, add the next one at the
# end: what has been trained stays, and `lrps run` trains what is missing.
versions:
{versions}
# Trained by `lrps prepare` on the text of all versions above, once; later versions keep it.
tokenizer:
  type: sentencepiece
  model: data/tokenizer.model
  train: {{algorithm: bpe, vocab_size: {draft.vocab_size}}}

# Megatron's own flags, without the leading dashes.
# The size `{draft.size}`: {size.about}.
megatron:
{"".join(f"  {flag}: {value}\n" for flag, value in flags.items())}
{textwrap.fill(draft.why, 118, initial_indent="# ", subsequent_indent="# ")}
launch: {{device: {draft.device}, local: {{processes: {draft.processes}}}}}
"""


def _version(number: int, text: Text, length: tuple[str, str], valid: Text | None) -> str:
    name = f"v{number}"
    lines = [
        f"  - name: {name}",
        f"    {length[0]}: {length[1]}",
        f"    train: [[1.0, data/{name}]]  # [weight, index]; `lrps prepare` makes data/{name}.bin and .idx",
    ]
    if valid is not None:
        lines += [
            "    valid: {held-out: data/valid}  # later versions are validated on it too",
            "    sources:  # index: the raw text that it is made from",
            f"      data/{name}: {_source(text)}",
            "      # Held out: no file of it may be among the text above. `lrps init` has compared them.",
            f"      data/valid: {_source(valid)}",
        ]
    else:
        lines += [
            "    # replay: even  # read all versions' text alike: for new text of another kind than the old",
            f"    sources: {{data/{name}: {_source(text)}}}",
        ]
    return "\n".join(lines) + "\n"


def _source(text: Text) -> str:
    if text.documents is None:
        return _scalar(text.files)
    return f"{{files: {_scalar(text.files)}, documents: {text.documents}}}"


def _scalar(text: str) -> str:
    """Return text as YAML, unquoted if no reader could take it for anything else."""
    plain = re.fullmatch(r"(?:[A-Za-z_.][\w.-]*)?(?:/[\w.*-]+)+", text, re.ASCII)
    return text if plain else json.dumps(text, ensure_ascii=False)


def warmup_of(iters: int) -> int:
    """Return a twentieth of the first version, at most 500 iterations."""
    return min(500, max(1, iters // 20))


def _every(iters: int, parts: int) -> str:
    return str(min(1000, max(1, iters // parts)))
