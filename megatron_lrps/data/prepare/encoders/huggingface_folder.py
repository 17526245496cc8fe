"""Encodes with a local Hugging Face folder, as Megatron's HuggingFaceTokenizer does."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from megatron_lrps.data.prepare.encoders.encoder import Encoded, TokenizerSpec, batches, flat
from megatron_lrps.data.prepare.encoders.traps import TRAPS
from megatron_lrps.errors import RefusedError

SENTENCEPIECE_FILES = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "sentencepiece.model")

_PROBE = Path(__file__).with_name("huggingface_probe.py")
_BATCH_CHARS = 2**18
"""Characters given to the library at once, about: its answer takes some 100 bytes for each token."""


class HuggingFaceFolder(NamedTuple):
    """The ``tokenizers`` JSON that transformers makes from a folder, and the id of its EOS token."""

    backend: str
    eod: int


def read_folder(folder: Path, additional: Sequence[str] = ()) -> HuggingFaceFolder:
    """Read the folder with transformers, in a separate process, offline, running no code from the folder.

    Args:
        folder: Holds at least tokenizer.json; tokenizer_config.json names the EOS token.
        additional: Special tokens that Megatron adds (``--tokenizer-special-tokens``).

    Raises:
        RefusedError: It cannot be read, gives no EOD, or is read differently by different libraries.
    """
    # transformers converts such a model silently, and its ids differ from sentencepiece's.
    if not (folder / "tokenizer.json").exists():
        model = next((name for name in SENTENCEPIECE_FILES if (folder / name).exists()), None)
        if model is not None:
            raise RefusedError(
                f"{folder} holds {model} but no tokenizer.json, and transformers reads other ids than sentencepiece.",
                f"Set tokenizer to {{type: sentencepiece, model: {folder / model}}}.",
            )
        raise RefusedError(f"{folder} holds no tokenizer.json.", "Save one there with the tokenizers library.")
    found = _probe(folder, additional)
    if found["backend"] is None or found["split_special_tokens"]:
        raise RefusedError(
            f"transformers reads {folder} as a {found['kind']} that only it can run.",
            "Save a tokenizer.json of the tokenizers library there, without split_special_tokens.",
        )
    if found["eod"] is None:
        raise RefusedError(
            f"{folder} names no eos_token, and Megatron ends documents with it.",
            'Add {"eos_token": "..."} to its tokenizer_config.json.',
        )
    if found["differing"]:
        text, own, other = found["differing"]
        raise RefusedError(
            f"{folder}: of {text!r} tokenizer.json makes {own[:8]}, but transformers, as a {found['kind']}, "
            f"makes {other[:8]}.",
            # Both files decide on a class, and some classes build another pre-tokenizer than tokenizer.json says.
            'Set "tokenizer_class": "PreTrainedTokenizerFast" in tokenizer_config.json, and keep config.json apart.',
        )
    return HuggingFaceFolder(backend=found["backend"], eod=found["eod"])


class TokenizersReference:
    """The ``tokenizers`` library. transformers uses it, and Megatron uses transformers."""

    exact = True

    def __init__(self, spec: TokenizerSpec) -> None:
        # Each worker is one of many, so it uses no threads of its own.
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
        from tokenizers import Tokenizer

        assert spec.eod is not None
        self._tokenizer = Tokenizer.from_str(spec.backend)
        self._wrapped = spec.wrapped
        self.vocab_size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        self.eod = spec.eod
        self.engine = f"tokenizers {version('tokenizers')}"

    def encode(self, texts: Sequence[str]) -> Encoded:
        """Return the ids of each text, with BOS and EOS if the folder asks for them."""
        found = []
        for batch in batches(texts, _BATCH_CHARS):
            encodings = self._tokenizer.encode_batch_fast(batch, add_special_tokens=self._wrapped)
            found.append(flat([encoding.ids for encoding in encodings]))
        return Encoded(*map(np.concatenate, zip(*found, strict=True))) if found else flat([])

    def around(self) -> tuple[list[int], list[int]]:
        """Return the ids that stand before and after each document's own."""
        whole, own = (self._tokenizer.encode("x", add_special_tokens=wrap).ids for wrap in (self._wrapped, False))
        first = next(begin for begin in range(len(whole)) if whole[begin : begin + len(own)] == own)
        return whole[:first], whole[first + len(own) :]

    def matches_words(self) -> bool:
        """Whether an added token is found only as a whole word (``single_word``)."""
        return any(token.single_word for token in self._tokenizer.get_added_tokens_decoder().values())

    def tokens(self) -> list[str]:
        """Return all tokens as text, the added ones first."""
        added = self._tokenizer.get_added_tokens_decoder()
        names = [added[number].content for number in sorted(added)]
        rest = sorted(set(range(self.vocab_size)) - set(added))
        return [*names, *(self._tokenizer.decode([number], skip_special_tokens=False) for number in rest)]


def _probe(folder: Path, additional: Sequence[str]) -> dict[str, Any]:
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    ended = subprocess.run(
        [sys.executable, "-P", str(_PROBE), str(folder)],
        input=json.dumps({"additional": list(additional), "texts": TRAPS}),
        capture_output=True,
        text=True,
        env={**os.environ, **offline},
        check=False,
    )
    if ended.returncode == 0:
        result: dict[str, Any] = json.loads(ended.stdout)
        return result
    reason = (ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1]
    if "No module named 'transformers'" in reason:
        raise RefusedError(
            "The Python package transformers is not installed, and Megatron reads Hugging Face folders with it.",
            "Install it: pip install transformers",
        )
    raise RefusedError(f"transformers cannot read {folder}: {reason}.", "Correct the folder, or name another.")
