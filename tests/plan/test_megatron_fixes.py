"""What to do about Megatron's messages; those about layouts are asked for in ``tests/launch/test_layout_check.py``."""

import pytest

from megatron_lrps.plan.megatron_fixes import fix_of


@pytest.mark.parametrize(
    ("message", "fix"),
    [
        ("it needs hidden_size % num_attention_heads == 0; hidden-size is 64", "divide hidden-size"),
        ("assert args.hidden_size % args.num_attention_heads == 0", "divide hidden-size"),
        ("num_attention_heads argument is None", "add num-attention-heads"),
        ("num_experts must be non None to use expert model parallelism", "add num-experts"),
        ("Megatron requires CUDA.", "on a machine with GPUs"),
        ("it needs not bf16; bf16 is True, fp16 is True", "one of bf16 and fp16"),
        ("tokenizer_type None is not supported", "which tokenizer it is"),
        ("tokenizer_path: /data/no.model is invalid", "name the tokenizer's file"),
        ("it ends here, with nothing trained; exit-on-missing-checkpoint is True", "by --load"),
        ("GPTDataset failed to build as a mock data generator", "--data-path"),
        ("argument --seed: expected one argument", "give its value"),
        ("argument --lr: invalid float value: 'high'", "give a number"),
    ],
)
def test_each_message_has_its_fix(message: str, fix: str) -> None:
    assert fix in fix_of(message)
