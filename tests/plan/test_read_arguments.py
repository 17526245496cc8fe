"""Every flag that is to change the model, the loss, the update or the samples is read somewhere in Megatron."""

import importlib.util
import re
from collections import Counter
from pathlib import Path

import pytest

from megatron_lrps.plan.entry_flags import is_not_honoured
from megatron_lrps.plan.megatron_arguments import arguments
from megatron_lrps.plan.refused_flags import UNSAFE

EXPLAINED = {
    **dict.fromkeys(
        ("encoder_num_layers", "decoder_num_layers", "use_rotary_position_embeddings", "encoder_seq_length"),
        "another name, which the parser turns into num-layers, position-embedding-type and seq-length",
    ),
    **dict.fromkeys(("grad_reduce_in_bf16", "no_weight_decay_cond_type"), "the parser turns it into another argument"),
    **dict.fromkeys(("logits_load_kd_loss_alpha", "logits_load_ignore_errors"), "of logits-load-dir, which is refused"),
    "use_layer_wise_param_layout": "read by its name, in a loop over the optimizer's fields",
}
"""Argument without a reader of its own -> why it is not ignored. Those of Muon are read by their prefix, too."""
CLASSES = ("model", "size", "loss", "update", "data")
NOT_READERS = ("training/arguments.py", "training/yaml_arguments.py")


@pytest.mark.training
def test_no_flag_is_ignored_without_a_word() -> None:
    """Of a flag that nothing reads, a plan would say one model and train another."""
    spec = importlib.util.find_spec("megatron.core")
    assert spec is not None
    assert spec.submodule_search_locations
    root = Path(spec.submodule_search_locations[0]).parent
    read: Counter[str] = Counter()
    for file in (*root.glob("core/**/*.py"), *root.glob("training/**/*.py")):
        if file.relative_to(root).as_posix() not in NOT_READERS:
            text = file.read_text(encoding="utf-8", errors="ignore")
            read.update(re.findall(r"[.'\"](\w+)", text))
    ignored = [
        each.destination
        for each in arguments().values()
        if each.flags and each.in_class in CLASSES and not read[each.destination]
        if not each.destination.startswith(("muon_", "fim_"))
        if not any(flag in UNSAFE or is_not_honoured(flag) for flag in each.flags)
    ]
    assert sorted(set(ignored) - set(EXPLAINED)) == []
