"""The table of Megatron's arguments against the installed Megatron's parser, and what a plan's flags may be."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.cpu_flags import CPU_ENV
from megatron_lrps.plan.flags import DEFAULTS, OWNED, argument_line
from megatron_lrps.plan.megatron_arguments import CLASSES, arguments, by_flag, given, refuse_unknown_flags
from megatron_lrps.plan.refused_flags import NO_RESUME, UNSAFE
from tests.plan.plans import assert_one_clear_line, tree_of
from tests.plan.test_flags import flags_of, refused

DUMP = """
import argparse, enum, json
from megatron_lrps.training import cpu; cpu.install()
from megatron.training.arguments import add_megatron_arguments
switches = (argparse._StoreTrueAction, argparse._StoreFalseAction, argparse.BooleanOptionalAction)
one_word = {"tuple_type": "tuple", **dict.fromkeys(("moe_freq_type", "la_freq_type", "no_rope_freq_type"), "pattern")}
plain = lambda value: value.name if isinstance(value, enum.Enum) else value
found = {}
for action in add_megatron_arguments(argparse.ArgumentParser(allow_abbrev=False, add_help=False))._actions:
    kind = {"int": "int", "float": "float", **one_word}.get(getattr(action.type, "__name__", ""), "text")
    kind += str(action.nargs or "")
    off = lambda flag: isinstance(action, switches[1]) or isinstance(action, switches[2]) and flag.startswith("--no-")
    flags = ["!" * off(flag) + flag.removeprefix("--") for flag in action.option_strings]
    # Whether a signal's number is a choice depends on the machine.
    choices = [] if action.dest == "exit_signal" else [str(plain(choice)) for choice in action.choices or ()]
    kind = "switch" if isinstance(action, switches) else kind
    first = found.setdefault(action.dest, [kind, plain(action.default), [], choices])
    first[2] += flags
print(json.dumps(found))
"""

SEEN_IN_MEGATRONS_TESTS = """
account-for-embedding-in-pipeline-split account-for-loss-in-pipeline-split adam-beta1 adam-beta2 adam-eps
apply-layernorm-1p apply-query-key-layer-scaling apply-wd-to-qk-layernorm async-ckpt-use-cpu-shm async-save
async-strategy attention-backend attention-dropout attention-output-gate attention-softmax-in-fp32
auto-detect-ckpt-format bf16 calculate-per-token-loss check-weight-hash-across-dp-replicas-interval
ckpt-assume-constant-structure ckpt-format ckpt-fully-parallel-load ckpt-fully-parallel-save clip-grad
context-parallel-size cp-comm-type cross-entropy-fusion-impl cross-entropy-loss-fusion cuda-graph-impl
cuda-graph-modules data-cache-path data-parallel-sharding-strategy data-path ddp-average-in-collective
decoder-first-pipeline-num-layers decoder-last-pipeline-num-layers decoupled-lr decoupled-min-lr
defer-embedding-wgrad-compute deterministic-mode disable-bias-linear disable-gloo-process-groups
dist-ckpt-optim-fully-reshardable dist-ckpt-strictness distributed-backend distributed-timeout-minutes
empty-unused-memory-level enable-cuda-graph enable-experimental error-injection-rate error-injection-type
eval-global-batch-size eval-interval eval-iters exit-duration-in-mins exit-interval experimental-attention-variant
expert-model-parallel-size expert-tensor-parallel-size ffn-hidden-size fim-data fim-rate fim-spm-rate
fine-grained-activation-offloading finetune first-last-layers-bf16 fp16 fp8-format fp8-param-gather fp8-recipe
global-batch-size group-query-attention hidden-dropout hidden-size hierarchical-context-parallel-sizes
hybrid-layer-pattern hybrid-override-pattern init-method-std is-hybrid-model kv-channels kv-lora-rank
linear-attention-freq linear-conv-kernel-dim linear-key-head-dim linear-num-key-heads linear-num-value-heads
linear-value-head-dim load log-interval log-memory-to-tensorboard log-num-zeros-in-grad log-params-norm log-progress
log-throughput log-timers-to-tensorboard log-validation-ppl-to-tensorboard logging-level lr lr-decay-iters
lr-decay-samples lr-decay-style lr-warmup-fraction lr-warmup-init lr-warmup-samples make-vocab-size-divisible-by
mamba-head-dim mamba-num-heads manual-gc manual-gc-interval max-position-embeddings megatron-fsdp-grad-comm-dtype
megatron-fsdp-main-grads-dtype megatron-fsdp-main-params-dtype merge-file micro-batch-size
microbatch-group-size-per-virtual-pipeline-stage min-lr mock-data moe-aux-loss-coeff moe-enable-routing-replay
moe-ffn-hidden-size moe-flex-dispatcher-backend moe-grouped-gemm moe-layer-freq moe-permute-fusion
moe-router-bias-update-rate moe-router-dtype moe-router-enable-expert-bias moe-router-fusion moe-router-group-topk
moe-router-load-balancing-type moe-router-num-groups moe-router-pre-softmax moe-router-score-function
moe-router-topk moe-router-topk-scaling-factor moe-shared-expert-gate moe-shared-expert-intermediate-size
moe-shared-expert-overlap moe-token-dispatcher-type moe-z-loss-coeff mscale mscale-all-dim mtp-loss-scaling-factor
mtp-num-layers multi-latent-attention muon-extra-scale-factor muon-momentum muon-scale-mode no-bias-gelu-fusion
no-check-for-nan-in-loss-and-grad no-ckpt-fully-parallel-save no-create-attention-mask-in-dataloader
no-gradient-accumulation-fusion no-load-optim no-masked-softmax-fusion no-mmap-bin-files no-persist-layer-norm
no-rope-fusion no-use-layer-wise-param-layout no-use-tokenizer-model-from-checkpoint-args norm-epsilon normalization
num-attention-heads num-distributed-optimizer-instances num-experts num-layers num-layers-per-virtual-pipeline-stage
num-query-groups num-virtual-stages-per-pipeline-rank num-workers offload-modules optimizer
outer-dp-sharding-strategy overlap-grad-reduce overlap-moe-expert-parallel-comm
overlap-p2p-communication-warmup-flush overlap-param-gather overlap-param-gather-with-optimizer-step
override-opt_param-scheduler perform-rl-step pipeline-model-parallel-layout pipeline-model-parallel-size
position-embedding-type q-lora-rank qk-head-dim qk-layernorm qk-pos-emb-head-dim recompute-granularity
recompute-method recompute-modules recompute-num-layers rerun-mode rotary-base rotary-interleaved rotary-percent
rotary-scaling-factor save save-interval save-retain-interval seed seq-length sequence-parallel spec split
squared-relu step-batch-size-schedule straggler-minmax-count swiglu te-rng-tracker tensor-model-parallel-size
tensorboard-dir tensorboard-log-interval test-mode tiktoken-pattern timing-log-level timing-log-option
tokenizer-model tokenizer-type tp-comm-overlap train-iters train-samples transformer-impl
untie-embeddings-and-output-weights use-checkpoint-args use-checkpoint-opt_param-scheduler use-distributed-optimizer
use-flash-attn use-fused-weighted-squared-relu use-legacy-static-engine use-mcore-models use-megatron-fsdp
use-persistent-ckpt-worker use-rotary-position-embeddings use-torch-fsdp2 use-tp-pp-dp-mapping v-head-dim
verify-integrity vocab-file vocab-size wandb-entity wandb-exp-name wandb-project wandb-save-dir weight-decay
wgrad-deferral-limit
"""
"""What the training configurations of Megatron-LM's own functional tests set (core_v0.19.0)."""

NOT_CORES = (
    "export-default-te-spec export-model-type export-te-mcore-model model-provider no-record-throughput "
    "use-flashinfer-fused-rope"
)
"""Of those tests too, and no flags of Megatron-Core: scripts beside it add them."""


def test_every_argument_of_the_installed_megatron_is_in_a_class_and_no_other_is() -> None:
    """A release that brings an argument, drops one or changes its values fails here, with the line to write."""
    env = {**os.environ, **CPU_ENV}
    done = subprocess.run([sys.executable, "-c", DUMP], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    parser = json.loads(done.stdout.splitlines()[-1])
    table = {
        name: [
            each.kind,
            each.default,
            ["!" * (flag in each.negative) + flag for flag in each.flags],
            list(each.choices),
        ]
        for name, each in arguments().items()
        if each.kind
    }
    lines = [
        "\t".join([name, "CLASS?", kind, json.dumps(default), " ".join(flags), " ".join(choices)])
        for name, (kind, default, flags, choices) in parser.items()
        if table.get(name) != [kind, default, flags, choices]
    ]
    assert not lines, "write into the table, with a class each:\n" + "\n".join(lines)
    assert sorted(table.keys() - parser.keys()) == []


def test_every_flag_that_megatrons_own_tests_set_is_known() -> None:
    assert [flag for flag in SEEN_IN_MEGATRONS_TESTS.split() if flag not in by_flag()] == []
    assert [flag for flag in NOT_CORES.split() if flag in by_flag()] == []


def test_the_table_is_sound() -> None:
    assert {each.in_class for each in arguments().values()} == set(CLASSES)
    flags = [flag for each in arguments().values() for flag in each.flags]
    assert len(flags) == len(set(flags))
    assert [
        flag for flag in [*OWNED, *UNSAFE, *DEFAULTS, *(key for key, _ in NO_RESUME)] if flag not in by_flag()
    ] == []
    # What would change an update may not be among what may differ.
    for name in (
        "swiglu",
        "squared_relu",
        "openai_gelu",
        "quick_geglu",
        "rotary_percent",
        "rotary_base",
        "window_size",
        "use_rope_scaling",
        "moe_router_score_function",
        "moe_aux_loss_coeff",
        "hidden_dropout",
        "clip_grad",
        "attention_dropout",
        "mtp_num_layers",
        "qk_layernorm",
        "layernorm_epsilon",
        "spec",
        "weight_decay",
        "adam_eps",
        "loss_scale",
        "initial_loss_scale",
        "fp16",
        "bf16",
        "fp8",
        "eod_mask_loss",
    ):
        assert CLASSES[arguments()[name].in_class].compared, name


@pytest.mark.parametrize(
    ("flags", "says", "fix"),
    [
        ({"num-layer": 2}, "megatron.num-layer: Megatron-Core 0.19.2 has no such flag", "did you mean num-layers?"),
        (
            {"num_layers": 2},
            "megatron.num_layers: Megatron-Core 0.19.2 has no such flag",
            "write num-layers; a flag of your own script belongs under",
        ),
        (
            {"layernorm-epsilon": 1e-6},
            "megatron.layernorm-epsilon: Megatron-Core 0.19.2 has no such flag",
            "write norm-epsilon",
        ),
        (
            {"add-bias-linear": False},
            "megatron.add-bias-linear: Megatron-Core 0.19.2 has no such flag",
            "write disable-bias-linear: true",
        ),
        (
            {"rope-fusion": False},
            "megatron.rope-fusion: Megatron-Core 0.19.2 has no such flag",
            "did you mean no-rope-fusion?",
        ),
        ({"my-router-noise": 0.1}, "megatron.my-router-noise: Megatron-Core 0.19.2 has no such flag", "script_flags"),
        ({"num-layers": "two"}, "megatron.num-layers: 'two' is not a whole number", "give a whole number"),
        ({"num-layers": 2.0}, "megatron.num-layers: 2.0 is not a whole number", "give a whole number"),
        ({"num-layers": True}, "megatron.num-layers: True is not a whole number", "give a whole number"),
        ({"num-layers": [2, 3]}, "megatron.num-layers: [2, 3] is not a whole number", "give one value"),
        ({"clip-grad": "high"}, "megatron.clip-grad: 'high' is not a number", "give a number"),
        ({"swiglu": 1}, "megatron.swiglu: 1 is not true or false", "give true or false"),
        ({"swiglu": "yes"}, "megatron.swiglu: 'yes' is not true or false", "give true or false"),
        ({"normalization": "rmsnorm"}, "'rmsnorm' is not one of LayerNorm, RMSNorm", "give one of"),
        ({"position-embedding-type": True}, "True is not one of learned_absolute", "give one of"),
        ({"attention-backend": "cuda"}, "'cuda' is not one of flash, fused", "give one of"),
        ({"window-size": [16, "x"]}, "megatron.window-size: [16, 'x'] is not whole numbers", "give whole numbers"),
        ({"window-size": "16;0"}, "megatron.window-size: '16;0' is not whole numbers", "give whole numbers"),
        ({"moe-layer-freq": "every"}, "'every' is not a whole number, or a list of numbers", "give a whole number"),
        ({"hybrid-layer-pattern": ["M", "*"]}, "['M', '*'] is not text", "in quotes where it holds commas"),
        ({"moe-aux-loss-coeff": [0.1, "x"]}, "[0.1, 'x'] is not numbers", "give numbers"),
        ({"optimizer": "sgd"}, "megatron.optimizer: 'sgd' is refused: megatron-core 0.19 saves", "choose another"),
        ({"non-persistent-ckpt-type": "global"}, "megatron.non-persistent-ckpt-type: 'global' is refused", "remove it"),
    ],
)
def test_what_megatron_would_not_take_is_refused_without_it(flags: dict[str, Any], says: str, fix: str) -> None:
    refused(says, fix, megatron=flags)


@pytest.mark.parametrize(
    "flags",
    [
        {"num-layers": "24", "clip-grad": 1, "adam-eps": 1e-8, "swiglu": False, "spec": False},
        {"moe-aux-loss-coeff": 1e-3, "moe-router-load-balancing-type": ["aux_loss", "seq_aux_loss"]},
        {"window-size": "16,0", "moe-layer-freq": "([0]*1+[1]*3)", "no-rope-freq": 4, "cp-comm-type": "a2a"},
        {"spec": ["local"], "attention-backend": "flash", "flash-attention-version": 3, "timing-log-level": "2"},
        {"no-rope-fusion": True, "disable-bias-linear": True, "no-rl-partial-rollouts": True},
    ],
)
def test_what_megatron_takes_passes(flags: dict[str, Any]) -> None:
    assert flags.items() <= flags_of(megatron=flags).items()


@pytest.mark.parametrize(
    ("flag", "value", "written"),
    [
        ("window-size", [16, 0], "16,0"),
        ("window-size", "(16, 0)", "(16, 0)"),
        ("moe-layer-freq", [0, 1, 1], "[0,1,1]"),
        ("moe-layer-freq", 2, "2"),
        ("no-rope-freq", "([0]*3+[1]*1)*2", "([0]*3+[1]*1)*2"),
        ("linear-attention-freq", [1, 0], "[1,0]"),
        ("moe-aux-loss-coeff", [0.1, 0.2], "0.1 0.2"),
        ("spec", ["my.layers", "spec"], "my.layers spec"),
    ],
)
def test_a_list_is_written_as_megatrons_parser_wants_it(flag: str, value: Any, written: str) -> None:
    line = argument_line({flag: flags_of(megatron={flag: value})[flag]})
    assert " ".join(line) == f"--{flag} {written}"


def test_a_list_equals_the_text_that_megatron_reads() -> None:
    assert given({"window-size": [16, 0]}) == given({"window-size": "(16, 0)"}) == given({"window-size": "16,0"})
    assert given({"moe-layer-freq": [0, 1]}) == given({"moe-layer-freq": "[0, 1]"})
    assert given({"moe-layer-freq": "1"}) == given({})


def test_flags_of_the_users_own_script_pass_and_megatrons_do_not() -> None:
    assert flags_of(script_flags={"my-router-noise": 0.1, "my_switch": True})["my-router-noise"] == 0.1
    refused(
        "script_flags.num-layers: this is a flag of Megatron, not of your script",
        "move it to",
        script_flags={"num-layers": 2},
    )
    refused(
        "script_flags.lrps-path: this is a flag of Megatron-LRPS, not of your script",
        "remove it",
        script_flags={"lrps-path": "v1"},
    )
    with pytest.raises(PlanError) as refusal:
        tree_of(script_flags={"--noise": 1})
    assert_one_clear_line(refusal.value, "without the leading dashes")


def test_flags_are_read_as_megatron_reads_them() -> None:
    flags = {"swiglu": True, "disable-bias-linear": True, "norm-epsilon": "1e-6", "clip-grad": 1, "num-layers": "8",
             "moe-aux-loss-coeff": 1e-3, "save-interval": 5, "qk-layernorm": False}  # fmt: skip
    read = given(flags)
    assert read["swiglu"] is True
    assert read["add_bias_linear"] is False
    assert (read["layernorm_epsilon"], read["clip_grad"], read["num_layers"]) == (1e-6, 1.0, 8)
    assert read["moe_aux_loss_coeff"] == [1e-3]
    assert read["qk_layernorm"] is False
    assert read["hidden_dropout"] == 0.1
    assert "save_interval" not in read
    assert given({"hidden-dropout": 0.1, "disable-bias-linear": False}) == given({})


def test_an_unknown_flag_is_named_on_one_line() -> None:
    with pytest.raises(PlanError) as refusal:
        refuse_unknown_flags({"a" * 300: 1})
    assert_one_clear_line(refusal.value, "Megatron-Core 0.19.2 has no such flag")
