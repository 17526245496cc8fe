"""Reads a config.json key by key: each is used, is known to change nothing, or is refused by its name."""

import math
from collections.abc import Mapping
from typing import Any

from megatron_lrps.errors import RefusedError

HARMLESS = frozenset(
    (
        # Identity, files and libraries.
        *("_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "torch_dtype", "dtype"),
        *("tokenizer_class", "unsloth_version", "unsloth_fixed", "transformers.js_config", "task_specific_params"),
        # The kernel that computes, not what it computes.
        *("_attn_implementation", "_attn_implementation_autoset", "attn_implementation", "use_cache"),
        # Training and initialization.
        *("initializer_range", "attention_dropout", "gradient_checkpointing", "pretraining_tp"),
        # What is returned beside the logits, and heads of other tasks.
        *("output_attentions", "output_hidden_states", "return_dict", "use_return_dict", "torchscript"),
        *("id2label", "label2id", "num_labels", "problem_type", "finetuning_task", "classifier_dropout"),
        # Generation.
        *("pad_token_id", "bos_token_id", "eos_token_id", "sep_token_id", "decoder_start_token_id", "is_decoder"),
        *("max_length", "min_length", "max_new_tokens", "do_sample", "temperature", "top_k", "top_p", "typical_p"),
        *("num_beams", "num_beam_groups", "diversity_penalty", "early_stopping", "length_penalty"),
        *("repetition_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "prefix"),
        *("num_return_sequences", "output_scores", "return_dict_in_generate", "forced_bos_token_id"),
        *("forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens"),
        *("begin_suppress_tokens", "tf_legacy_loss", "use_bfloat16"),
    )
)
"""The keys of any family that do not change what its model computes from tokens, whatever their values are."""
_ALWAYS: Mapping[str, tuple[Any, ...]] = {
    "is_encoder_decoder": (False, None),
    "chunk_size_feed_forward": (0, None),
    "pruned_heads": ({}, None),
    "per_layer_config": (None,),
    "is_causal": (True,),
    "add_cross_attention": (False,),
    "cross_attention_hidden_size": (None,),
    "tie_encoder_decoder": (False,),
    "tie_last_hidden_states": (None,),
}
"""The keys of any family that have one meaning which Megatron has too; absent ones have the first value."""
_FIXES: Mapping[str, str] = {
    "quantization_config": "import the unquantized (bf16) weights, or dequantize these with transformers first.",
    "auto_map": "import a model of transformers' own classes; this one brings code of its own.",
}
_LARGEST = 2**31 - 1
_SHOWN = 80


class ConfigKeys:
    """The keys of one config.json. An absent key has the value that transformers gives it.

    Args:
        values: The content of the file.
        name: The file, for messages.
        defaults: The values of absent keys, for all keys that the family reads.
    """

    def __init__(self, values: Mapping[str, Any], name: str, defaults: Mapping[str, Any]) -> None:
        self._values, self.name, self._defaults = values, name, defaults
        self._read = {"model_type"}

    def __contains__(self, key: str) -> bool:
        """Whether the file has the key."""
        return key in self._values

    def put(self, key: str, value: Any) -> None:
        """Give a key that is absent or null the value that transformers computes with then."""
        self._values = {**self._values, key: value}

    def value(self, key: str) -> Any:
        """Return the value of a key as it is."""
        self._read.add(key)
        return self._values.get(key, self._defaults[key])

    def count(self, key: str) -> int:
        """Return a whole number above 0; raises RefusedError."""
        value = self.value(key)
        if type(value) is not int or not 0 < value <= _LARGEST:
            raise self.refused(key, f"Megatron needs a whole number from 1 to {_LARGEST:,}")
        return value

    def optional_count(self, key: str) -> int | None:
        """Return a whole number above 0, or None where the value is null; raises RefusedError."""
        return None if self.value(key) is None else self.count(key)

    def number(self, key: str) -> float:
        """Return a finite number above 0; raises RefusedError."""
        return self.number_of(key, self.value(key))

    def number_of(self, key: str, value: Any) -> float:
        """Return ``value`` of ``key``, a finite number above 0; raises RefusedError."""
        if type(value) not in (int, float) or not 0 < value <= _LARGEST**4 or not math.isfinite(value):
            raise self.refused(key, "Megatron needs a finite number above 0", value)
        return float(value)

    def switch(self, key: str) -> bool:
        """Return true or false; raises RefusedError."""
        value = self.value(key)
        if type(value) is not bool:
            raise self.refused(key, "it is true or false")
        return value

    def need(self, key: str, *allowed: Any) -> Any:
        """Return a value that is among ``allowed``; raises RefusedError for another one."""
        value = self.value(key)
        if not _among(value, allowed):
            raise self.refused(key, f"{' or '.join(map(repr, allowed))} can be")
        return value

    def harmless(self, *keys: str) -> None:
        """Take keys of the family that change nothing."""
        self._read.update(keys)

    def refused(self, key: str, why: str, value: Any = None) -> RefusedError:
        """Return the error that names a key with its value."""
        absent = ""
        if value is None:
            value = self._values.get(key, self._defaults.get(key))
            if key not in self._values and key in self._defaults:
                absent = ", as transformers has it for a config.json without the key,"
        return RefusedError(f"{self.name}: {key} {shown(value)}{absent} cannot be imported; {why}.", _fix(key))

    def refuse_unread(self) -> None:
        """Refuse by its name the first key that was neither read nor is known to change nothing."""
        for key, allowed in _ALWAYS.items():
            if key in self._values and key not in self._read and not _among(self._values[key], allowed):
                raise self.refused(key, f"only {shown(allowed[0])} can")
        known = self._read | HARMLESS | _ALWAYS.keys()
        for key, value in self._values.items():
            if key not in known:
                raise RefusedError(
                    f"{self.name}: the key {shown(key)}, which is {shown(value)}, is not known for a "
                    f"{self._values.get('model_type')} model, so it may change what the model computes.",
                    _fix(key),
                )


def _among(value: Any, allowed: tuple[Any, ...]) -> bool:
    """Whether a value is one of those allowed; 0 is not False."""
    return any(value == each and type(value) is type(each) for each in allowed)


def _fix(key: str) -> str:
    return _FIXES.get(key, "import another model, or, if the key changes nothing, remove it from a copy of the file.")


def shown(value: Any) -> str:
    """Return a value of somebody else's file on one line: no control characters, and not too long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
