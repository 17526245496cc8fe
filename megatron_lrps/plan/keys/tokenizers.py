"""``tokenizer`` of the plan: the campaign's tokenizer, and how `lrps prepare` makes a missing one."""

from typing import Literal

from pydantic import model_validator

from megatron_lrps.plan.keys.base import Count, FilePath, PlanModel

TOKENIZERS = {
    "sentencepiece": "SentencePieceTokenizer",
    "huggingface": "HuggingFaceTokenizer",
    "tiktoken": "TikTokenizer",
    "null": "NullTokenizer",
}
"""Short names of ``tokenizer.type`` -> Megatron's; any other value is passed as it is."""
TIKTOKEN_VOCABULARY = 131072
"""Tokens of Megatron's TikTokenizer where ``vocab_size`` does not say."""


class TokenizerTraining(PlanModel):
    """``tokenizer.train``: what `lrps prepare` makes where ``tokenizer.model`` does not exist yet."""

    algorithm: Literal["bpe", "unigram"] = "bpe"
    """The algorithm: `bpe` or `unigram` for a sentencepiece model, and `bpe` (byte-level) for a Hugging Face folder."""
    vocab_size: Count
    """The number of tokens in the vocabulary."""
    megabytes: Count = 50
    """How many megabytes of the versions' training text are read."""


class Tokenizer(PlanModel):
    """``tokenizer``: which one the campaign trains with."""

    type: str = "sentencepiece"
    """The type: `sentencepiece`, `huggingface`, `tiktoken`, `null`, or a name that Megatron's `--tokenizer-type`
    takes."""
    model: FilePath | None = None
    """The file of the tokenizer, or for `huggingface` its folder."""
    vocab_size: Count | None = None
    """The number of tokens. `null` needs it, and so does `tiktoken` unless it is Megatron's default of 131072."""
    pattern: Literal["v1", "v2"] | None = None
    """The pattern by which `tiktoken` splits the text."""
    num_special_tokens: Count | None = None
    """The number of ids that `tiktoken` keeps for special tokens."""
    special_tokens: tuple[str, ...] | None = None
    """Further tokens that `tiktoken` and `huggingface` never split."""
    train: TokenizerTraining | None = None
    """How `lrps prepare` trains the tokenizer if `model` does not exist yet."""

    @property
    def megatron_type(self) -> str:
        """The value of ``--tokenizer-type``."""
        return TOKENIZERS.get(self.type, self.type)

    @property
    def size(self) -> int | None:
        """The number of tokens, now or once it is trained; None if only the model file has it."""
        default = TIKTOKEN_VOCABULARY if self.megatron_type == "TikTokenizer" else None
        return self.train.vocab_size if self.train else self.vocab_size or default

    @model_validator(mode="after")
    def _of_its_type(self) -> "Tokenizer":
        kind = self.megatron_type
        owners = {
            "pattern": ("TikTokenizer",),
            "num_special_tokens": ("TikTokenizer",),
            "special_tokens": ("TikTokenizer", "HuggingFaceTokenizer"),
        }
        for key, types in owners.items():
            if getattr(self, key) is not None and kind not in types:
                raise ValueError(f"{key} is given, but {kind} has none; remove it")
        return self

    @model_validator(mode="after")
    def _trainable(self) -> "Tokenizer":
        if self.train is None:
            return self
        if self.megatron_type not in ("SentencePieceTokenizer", "HuggingFaceTokenizer"):
            raise ValueError(f"train is given, but {self.type} is not trained here; name an existing file in `model`")
        if self.megatron_type == "HuggingFaceTokenizer" and self.train.algorithm != "bpe":
            raise ValueError("train.algorithm is unigram, but a huggingface folder gets a byte-level bpe; write bpe")
        if self.model is None:
            raise ValueError("train is given without `model`; name the file (huggingface: the folder) to make")
        if self.vocab_size not in (None, self.train.vocab_size):
            raise ValueError(f"vocab_size {self.vocab_size} is not train.vocab_size {self.train.vocab_size}; remove it")
        return self
