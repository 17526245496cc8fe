"""Chooses the encoder of a tokenizer."""

from functools import lru_cache

from megatron_lrps.data.prepare.encoders.encoder import Encoder, TokenizerSpec
from megatron_lrps.data.prepare.encoders.gigatoken_engine import fast_huggingface, fast_tiktoken
from megatron_lrps.data.prepare.encoders.huggingface_folder import TokenizersReference
from megatron_lrps.data.prepare.encoders.null import NullEncoder
from megatron_lrps.data.prepare.encoders.sentencepiece_model import SentencePieceModel
from megatron_lrps.data.prepare.encoders.spec import SENTENCEPIECE
from megatron_lrps.data.prepare.encoders.tiktoken_file import TiktokenReference


def load_encoder(spec: TokenizerSpec) -> Encoder:
    """Return the fastest encoder that may be used. If its ``exact`` is False, its ids have to be checked.

    Raises:
        RefusedError: The model cannot be read, or its library is not installed.
    """
    if spec.type in SENTENCEPIECE and spec.model is not None:
        return SentencePieceModel(spec.model, cut=True)
    reference = load_reference(spec)
    if isinstance(reference, TokenizersReference):
        return fast_huggingface(spec, reference)
    if isinstance(reference, TiktokenReference):
        return fast_tiktoken(spec, reference)
    return reference


def load_reference(spec: TokenizerSpec) -> Encoder:
    """Return the encoder that gives the ids of Megatron's tokenizer class. Raises as ``load_encoder``."""
    state = spec.model.stat() if spec.model is not None and spec.model.is_file() else None
    return _reference(spec, state and (state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=1)  # a process encodes many shards with one tokenizer, and a large vocabulary takes half a second
def _reference(spec: TokenizerSpec, _of_file: tuple[int, int] | None) -> Encoder:
    if spec.type == "NullTokenizer":
        assert spec.vocab_size is not None
        assert spec.eod is not None
        return NullEncoder(spec.vocab_size, spec.eod)
    assert spec.model is not None
    if spec.type in SENTENCEPIECE:
        return SentencePieceModel(spec.model, cut=False)
    return TiktokenReference(spec) if spec.type == "TikTokenizer" else TokenizersReference(spec)
