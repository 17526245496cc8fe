"""Trains the plan's tokenizer on the campaign's own text, if it is not there yet."""

import io
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from megatron_lrps.data.fingerprint import tokenizer_fingerprint
from megatron_lrps.data.library import library
from megatron_lrps.data.prepare.documents import Tally, documents
from megatron_lrps.data.prepare.find import TextSource
from megatron_lrps.data.prepare.shards import cut
from megatron_lrps.data.sentencepiece_training import train_sentencepiece
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.keys.tokenizers import Tokenizer
from megatron_lrps.storage.files import publish, temporary_name, write_atomic

END_OF_TEXT = "<|endoftext|>"
"""The only special token of a byte-level BPE trained here. It has id 0 and is EOD."""

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The first split of byte-level BPE, as in OpenAI's cl100k_base and Llama 3. gigatoken has it built in."""


_PLACES = 64
"""The most shards of a source whose beginnings are read."""


@dataclass(frozen=True, kw_only=True)
class TrainedTokenizer:
    """A trained tokenizer and its text.

    Attributes:
        vocab_size: Tokens, special ones included, without Megatron's padding.
        sha256: The sha256 of the file, or of a folder's tokenizer files (``tokenizer_fingerprint``).
        documents: The number of texts read.
        text_bytes: The UTF-8 bytes of these texts.
    """

    vocab_size: int
    sha256: str
    documents: int
    text_bytes: int


def sample_texts(sources: Sequence[TextSource], limit: int) -> Iterator[str]:
    """Yield documents from the beginnings of evenly spaced shards of every source.

    Args:
        sources: The sources of training data. Each gives about the same amount.
        limit: UTF-8 bytes in all, about; fewer if there is less text.

    Raises:
        RefusedError: A file cannot be read.
    """
    share = max(1, limit // max(1, len(sources)))
    for source in sources:
        size = sum(file.bytes for file in source.files)
        shards = cut(source, shard_bytes=max(2**20, size // _PLACES))
        chosen = [shards[len(shards) * place // _PLACES] for place in range(_PLACES)]
        chosen = list(dict.fromkeys(chosen)) if len(shards) > _PLACES else shards
        left = share
        for place, shard in enumerate(chosen):
            here = left // (len(chosen) - place)
            for text in documents(shard, source, Tally(io.StringIO())):
                if here <= 0:
                    break
                yield text
                here -= (size := len(text.encode()))
                left -= size


def train_tokenizer(tokenizer: Tokenizer, texts: Iterable[str], model: Path) -> TrainedTokenizer:
    """Train the tokenizer as ``tokenizer.train`` says. The same texts give the same bytes.

    Args:
        tokenizer: The plan's section, with ``train``.
        texts: Documents, in an order that does not change. They are read until there are ``train.megabytes``.
        model: The file to make, or for huggingface the folder. After a crash it is whole or absent.

    Raises:
        RefusedError: The model exists already, or the texts cannot give so large a vocabulary.
        StorageError: The model could not be written.
    """
    training = tokenizer.train
    if training is None:
        raise RefusedError("The plan's tokenizer has no `train`.", "Set tokenizer.train.")
    if model.exists() and not (model.is_dir() and not any(model.iterdir())):
        raise RefusedError(f"{model} exists, and a tokenizer is never overwritten.", "Move it away, or use it.")
    read = _Texts(texts, limit=training.megabytes * 10**6)
    if tokenizer.megatron_type == "HuggingFaceTokenizer":
        _train_bytelevel(read, model, training.vocab_size)
    else:
        train_sentencepiece(read, model, vocab_size=training.vocab_size, algorithm=training.algorithm)
    return TrainedTokenizer(
        vocab_size=training.vocab_size,
        sha256=tokenizer_fingerprint(model),
        documents=read.documents,
        text_bytes=read.text_bytes,
    )


class _Texts:
    """Texts until they have ``limit`` bytes, counted."""

    def __init__(self, texts: Iterable[str], *, limit: int) -> None:
        self._texts = texts
        self._limit = limit
        self.documents = self.text_bytes = 0

    def __iter__(self) -> Iterator[str]:
        for text in self._texts:
            self.documents += 1
            self.text_bytes += len(text.encode())
            yield text
            if self.text_bytes >= self._limit:
                return


def _train_bytelevel(texts: Iterable[str], folder: Path, vocab_size: int) -> None:
    tokenizers = library("tokenizers", "pip install tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    splits = tokenizers.pre_tokenizers.Split(tokenizers.Regex(SPLIT), behavior="isolated")
    byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([splits, byte_level])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(iter(texts), trainer)
    if (found := tokenizer.get_vocab_size()) != vocab_size:
        raise RefusedError(
            f"These texts give a vocabulary of {found} tokens, the 256 bytes and {END_OF_TEXT} included, "
            f"not of {vocab_size}.",
            "Choose a vocab_size between 257 and what the texts can give, or add text.",
        )
    # The generic class uses tokenizer.json as it is. A model's own class would build another from its parts.
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "unk_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 10**30,
    }
    special = {key: value for key, value in config.items() if key.endswith("_token")}
    temporary = temporary_name(folder)
    shutil.rmtree(temporary, ignore_errors=True)  # of a run that was killed
    write_atomic(temporary / "tokenizer.json", tokenizer.to_str(pretty=False))
    write_atomic(temporary / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")
    write_atomic(temporary / "special_tokens_map.json", json.dumps(special, indent=2) + "\n")
    publish(temporary, folder)
