"""The package's own GPT entry honours what Megatron-LM's scripts read, or refuses it by name."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import megatron_lrps.training.megatron
from megatron_lrps.plan.entry_flags import NOT_HONOURED
from tests.training.harness import GPT, train

READ_BY_SCRIPTS = """
allow_ambiguous_pad_tokens check_for_nan_in_loss_and_grad check_for_spiky_loss context_parallel_size
create_attention_mask_in_dataloader data_cache_path data_parallel_size dataloader_defer_npy_index_mmap
dataloader_fast_cache_load dataloader_inter_document_masking eod_mask_loss experimental_attention_variant fim_data
fp16_lm_cross_entropy full_validation heterogeneous_layers_config_path hybrid_context_parallel legacy_tokenizer
logit_dtype logits_load_dir max_position_embeddings memory_snapshot_path micro_batch_size mid_level_dataset_surplus
mmap_bin_files mock_data modelopt_enabled moe_grouped_gemm moe_use_legacy_grouped_gemm mtp_num_layers
multi_latent_attention multiple_validation_sets normalization num_dataset_builder_threads num_experts
object_storage_cache_path overlap_moe_expert_parallel_comm padded_vocab_size per_dataset_sequences_path
pipeline_model_parallel_size position_embedding_type qk_l2_norm qk_layernorm record_memory_history
reset_attention_mask reset_position_ids rotary_base rotary_percent seed seq_length sequence_parallel sft spec split
tensor_model_parallel_size transformer_impl untie_embeddings_and_output_weights use_legacy_models use_rope_scaling
yaml_cfg
"""
"""Arguments that pretrain_gpt.py, gpt_builders.py and model_provider.py read, in any of core_r0.16.0 to core_r0.19.0
and main of August 2026; of the groups `fim_*` and `logits_load_*` only those that turn the rest on."""

ELSEWHERE = {
    "logit_dtype": "Megatron's gpt_config_from_args of 0.20, the first release that has it",
    "modelopt_enabled": "megatron.post_training, which no wheel has, sets it",
    "moe_use_legacy_grouped_gemm": "gone since 0.17, and refused by the parser",
    "overlap_moe_expert_parallel_comm": "Megatron's schedules: they ask the forward step for its plan",
    "record_memory_history": "Megatron's pretrain, given a configuration",
    "memory_snapshot_path": "Megatron's pretrain, given a configuration",
    "yaml_cfg": "refused by run_arguments.prepare",
    **dict.fromkeys(
        ("moe_grouped_gemm", "multi_latent_attention", "qk_layernorm"), "the transformer's configuration has it"
    ),
}
"""Argument -> who reads or refuses it instead of the entry's own modules."""

LAYERS = """\
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.transformer.identity_op import IdentityFuncOp, IdentityOp
spec = get_gpt_layer_local_spec()
spec.submodules.mlp, spec.submodules.mlp_bda = IdentityOp, IdentityFuncOp
not_a_spec = get_gpt_layer_local_spec
"""


def own_sources() -> str:
    folder = Path(inspect.getfile(megatron_lrps.training.megatron)).parent
    return "\n".join(file.read_text() for file in sorted(folder.glob("gpt*.py")))


def test_what_megatron_lms_scripts_read_is_honoured_or_refused() -> None:
    tree = ast.parse(own_sources())
    known = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    known |= {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    known |= {flag.replace("-", "_") for flag in NOT_HONOURED} | {"spec"}  # layer_spec.py
    assert sorted(set(READ_BY_SCRIPTS.split()) - known - set(ELSEWHERE)) == []
    assert set(ELSEWHERE) <= set(READ_BY_SCRIPTS.split())


@pytest.mark.training
def test_a_spec_makes_the_model(tmp_path: Path) -> None:
    (tmp_path / "thin_layers.py").write_text(LAYERS)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {GPT}"
    run = train(tmp_path / "thin", "--mock-data --train-iters 1 --spec thin_layers spec", code=code)
    found = re.search(r"number of parameters .*: (\d+)", run.logs[0])
    # Without the two MLPs (64 x 256 and back, with their biases) of the whole model's 110,336.
    assert found
    assert int(found[1]) == 110_336 - 2 * (2 * 64 * 256 + 256 + 64)


@pytest.mark.training
@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("no_such_module spec", "--spec no_such_module spec cannot be imported: No module named 'no_such_module'"),
        ("thin_layers spek", "--spec thin_layers spek: the module has no spek"),
        ("thin_layers not_a_spec", "--spec thin_layers not_a_spec is a function, not a ModuleSpec"),
        ("local", "--spec: ['local'] is not a module and a name in it"),
    ],
)
def test_a_spec_that_megatron_would_ignore_is_refused(tmp_path: Path, spec: str, says: str) -> None:
    (tmp_path / "thin_layers.py").write_text(LAYERS)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {GPT}"
    with pytest.raises(AssertionError, match=re.escape(says)):
        train(tmp_path / "refused", f"--mock-data --train-iters 1 --spec {spec}", code=code)
