"""Encoders. In: texts. Out: the ids of Megatron's own tokenizers, without torch or Megatron, by the fastest library."""

from megatron_lrps.data.prepare.encoders.choose import load_encoder, load_reference
from megatron_lrps.data.prepare.encoders.encoder import Encoded, Encoder, TokenizerSpec
from megatron_lrps.data.prepare.encoders.spec import spec_of

__all__ = ["Encoded", "Encoder", "TokenizerSpec", "load_encoder", "load_reference", "spec_of"]
