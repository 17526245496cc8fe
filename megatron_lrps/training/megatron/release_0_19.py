"""The names of megatron-core 0.19 that are not the same in all releases."""

from megatron_lrps.training.megatron.names import HybridNames, Name, Release

_ARGUMENTS = "megatron.training.arguments"
_WRITER = "megatron.core.dist_checkpointing.strategies.filesystem_async"
_HYBRID = "megatron.core.models.hybrid"

RELEASE = Release(
    prefix="0.19.",
    newest="0.19.2",
    parse_args=(Name(_ARGUMENTS, "parse_args", ("extra_args_provider", "ignore_unknown_args")),),
    validate_args=Name(_ARGUMENTS, "validate_args", ("args",)),
    set_globals=Name(_ARGUMENTS, "set_global_variables", ("args",)),
    initialize=Name("megatron.training.training", "initialize_megatron", ("allow_no_cuda",)),
    tracker_files=Name("megatron.training.checkpointing", "maybe_msc"),
    results_queue=Name(_WRITER, "get_write_results_queue", ("mp_mode",)),
    tokenizers="megatron.core.tokenizers.text.models",
    compile_helpers=Name("megatron.core.datasets.utils", "compile_helpers"),
    help_texts=Name(
        "megatron.training.argument_utils", "ArgumentGroupFactory._get_field_docstrings", ("src_cfg_class",)
    ),
    writer_memory=Name(_WRITER, "_process_memory"),
    start_writer=Name(
        "megatron.core.dist_checkpointing.strategies.async_utils",
        "PersistentAsyncCaller._get_process",
        ("rank", "mp_mode", "cpu_priority", "io_priority"),
    ),
    build_tokenizer=Name("megatron.core.tokenizers.utils.build_tokenizer", "build_tokenizer", ("args",)),
    gpt="megatron_lrps.training.megatron.gpt_0_19",
    hybrid=HybridNames(
        model=Name(f"{_HYBRID}.hybrid_model", "HybridModel"),
        stack=Name(f"{_HYBRID}.hybrid_block", "HybridStack"),
        submodules=Name(f"{_HYBRID}.hybrid_block", "HybridStackSubmodules"),
        layers=Name(f"{_HYBRID}.hybrid_layer_specs", "hybrid_stack_spec"),
        norm=Name(f"{_HYBRID}.hybrid_block", "TENorm"),
    ),
)
