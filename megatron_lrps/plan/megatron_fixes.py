"""Fixes for Megatron's errors on a command line or a layout. Pure."""

import re

_FIXES = (
    ("divisible by total_model_size", "let nodes x gpus_per_node (or processes) be a multiple of TP x PP x CP."),
    ("global.batch.size .* divisible", "let global_batch_size be a multiple of micro-batch-size x DP."),
    ("num_query_groups", "let one of num-query-groups and tensor-model-parallel-size divide the other."),
    (
        "hidden_size % (args.)?num_attention_heads",
        "choose num-attention-heads that divide hidden-size, or kv-channels.",
    ),
    ("num_attention_heads argument is None", "add num-attention-heads."),
    ("num_attention_heads", "choose a tensor-model-parallel-size that divides num-attention-heads."),
    ("layers per pipeline stage", "choose virtual stages that divide num-layers / pipeline-model-parallel-size."),
    ("num-layers or encoder-num-layers", "add num-layers."),
    ("[Nn]umber of layers|num_layers", "choose a pipeline-model-parallel-size that divides num-layers."),
    ("num_experts must be non None", "add num-experts, or remove expert-model-parallel-size."),
    ("expert model parallel", "choose an expert-model-parallel-size that divides num-experts."),
    ("requires CUDA|no GPUs found", "start it on a machine with GPUs; for tests, --lrps-cpu trains on the CPU."),
    ("bf16", "give one of bf16 and fp16."),
    ("seq_length|max_position_embeddings", "let max-position-embeddings be the sequence length or more."),
    ("exit.on.missing.checkpoint", "name a folder with a checkpoint by --load, or drop --exit-on-missing-checkpoint."),
    ("tokenizer_type None", "say which tokenizer it is: --tokenizer-type, or `tokenizer` in the plan."),
    ("[Tt]okenizer", "name the tokenizer's file by --tokenizer-model, or `tokenizer.model` in the plan."),
    ("micro_batch_size is not None", "add micro-batch-size."),
    ("mock data generator", "name data by --data-path, or give --mock-data."),
    ("One or more of the given data|bin_reader|\\.idx|\\.bin", "name index prefixes whose .bin and .idx are there."),
    ("unrecognized arguments", "correct them under `megatron:`; Megatron's --help lists its flags."),
    ("invalid choice", "give one of those."),
    ("invalid int value", "give a whole number."),
    ("invalid float value", "give a number."),
    ("expected (one|at least one|\\d+) argument", "give its value."),
)
"""Pattern of a Megatron message -> the fix; the first match counts."""


def fix_of(message: str) -> str:
    """Return the fix for a message of Megatron or its parser."""
    return next(
        (fix for pattern, fix in _FIXES if re.search(pattern, message)), "change these flags under `megatron:`."
    )
