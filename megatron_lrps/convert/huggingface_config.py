"""A model's config.json, and the model of a config.json.

The keys are those that transformers 4 and 5, vLLM and lm-eval all read (``rope_theta``, ``rope_scaling``,
``torch_dtype``); transformers 5's own ``rope_parameters`` is read too.
"""

from collections.abc import Mapping
from typing import Any

from megatron_lrps.convert.architecture import Model
from megatron_lrps.convert.families import FAMILIES
from megatron_lrps.convert.families.config_keys import ConfigKeys, shown
from megatron_lrps.convert.families.without_counterpart import WITHOUT_COUNTERPART
from megatron_lrps.errors import RefusedError


def config_of(model: Model, *, dtype: str, bos: int | None, eos: int | None) -> dict[str, Any]:
    """Return a model's config.json.

    Args:
        model: The model.
        dtype: The dtype of the weights: ``bfloat16``, ``float32``.
        bos: The id of the tokenizer that begins a text, if it has one.
        eos: The id that ends a document.
    """
    family = FAMILIES[model.family]
    return {
        "architectures": [family.architecture],
        "model_type": family.name,
        "torch_dtype": dtype,
        "vocab_size": model.vocab,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": None,  # some classes have a default, which a small vocabulary may not have
        "tie_word_embeddings": model.tied,
        **family.config_of(model),
    }


def model_of_config(config: Mapping[str, Any], name: str) -> Model:
    """Return the model that a config.json describes.

    Args:
        config: The content of the file.
        name: The file, for messages.

    Raises:
        RefusedError: naming the key that Megatron cannot compute with, or that is missing.
    """
    kind: Any = config.get("model_type")
    family = FAMILIES.get(kind) if isinstance(kind, str) else None
    if family is None and isinstance(kind, str) and kind in WITHOUT_COUNTERPART:
        models, why = WITHOUT_COUNTERPART[kind]
        raise RefusedError(f"{name}: model_type {kind} ({models}) cannot be imported: {why}.", "import another model.")
    if family is None:
        raise RefusedError(
            f"{name}: model_type {shown(kind)} cannot be imported; {', '.join(FAMILIES)} can.", "import another model."
        )
    keys = ConfigKeys(config, name, {**family.defaults, "architectures": None})
    classes = (family.architecture, family.architecture.replace("LMHeadModel", "Model").replace("ForCausalLM", "Model"))
    if (given := keys.value("architectures")) is not None and given not in ([each] for each in classes):
        raise keys.refused("architectures", f"transformers' {family.architecture} can")
    model = family.model_of(keys)
    keys.refuse_unread()
    return model


def set_aside(config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the keys that transformers alone computes with: key -> its value, and the one that changes nothing.

    Args:
        config: The content of a config.json, of any ``model_type``.
    """
    family = FAMILIES.get(str(config.get("model_type")))
    if family is None:
        return {}
    given = {key: config.get(key, family.defaults[key]) for key in family.only_transformers}
    return {key: (given[key], value) for key, value in family.only_transformers.items() if given[key] != value}
