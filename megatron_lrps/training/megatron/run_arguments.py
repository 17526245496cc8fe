"""The plugin's demands on Megatron's arguments: refusals and settings before Megatron validates them."""

import importlib
import sys
from argparse import Namespace

from megatron_lrps.campaign.past_arguments import allowed
from megatron_lrps.campaign.resharding import SAVED_BY, refuse_lossy_saves
from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.async_saves import MCORE, NVRX, installed, refuse_ignored_async_save, refuse_without_nvrx
from megatron_lrps.plan.parallel_layout import few_microbatches
from megatron_lrps.plan.refused_flags import NO_RESUME
from megatron_lrps.training.cpu import is_installed
from megatron_lrps.training.megatron.installed import installed_release, installed_version
from megatron_lrps.training.megatron.patching import set_meanwhile
from megatron_lrps.training.megatron.whole_validation import prepare_validation

_WITHOUT_TRANSFORMERS = ("NullTokenizer", "SentencePieceTokenizer", "TikTokenizer")


def prepare(args: Namespace) -> None:
    """Refuse and set what every run of the plugin needs, before Megatron validates the arguments."""
    refuse_unfit_async_saves(args)
    if args.yaml_cfg is not None:
        raise RefusedError("--yaml-cfg takes arguments from a second file.", "give them as flags or in the plan.")
    set_saved_by(args)
    args.lrps_allow = allowed(args.lrps_allow or (), vars(args)) or None
    refuse_lost_optimizer(args)
    prepare_validation(args)
    if is_installed():
        _import_tokenizers(args)


def set_saved_by(args: Namespace) -> None:
    """Note on the arguments which megatron-core saves the run's checkpoints."""
    setattr(args, SAVED_BY, installed_version().partition("+")[0])


def refuse_lost_optimizer(args: Namespace) -> None:
    """Refuse an optimizer whose state megatron-core saves and cannot load again; raises RefusedError."""
    from megatron.core.optimizer import USING_PYTORCH_OPTIMIZER

    if args.use_distributed_optimizer and not (args.bf16 or args.fp16):
        raise RefusedError(
            "--use-distributed-optimizer is given without --bf16 or --fp16: megatron-core 0.19 saves the state of fp32 "
            "weights, but fails when it loads it, so nothing could fork or resume.",
            "add --bf16, or drop --use-distributed-optimizer.",
        )
    if (reason := NO_RESUME.get(("optimizer", args.optimizer))) is not None:
        raise RefusedError(f"--optimizer {args.optimizer}: {reason}.", "choose another optimizer.")
    if args.use_distributed_optimizer and USING_PYTORCH_OPTIMIZER:
        raise RefusedError(
            "--use-distributed-optimizer is given, and this machine has neither Transformer Engine's nor apex's Adam: "
            "megatron-core 0.19 saves the state of torch's, but fails when it loads it, so nothing could fork or "
            "resume.",
            "install transformer-engine or apex, or drop --use-distributed-optimizer.",
        )
    refuse_lossy_saves(vars(args), args.lrps_allow or ())


def refuse_unfit_async_saves(args: Namespace) -> None:
    """Refuse asynchronous saves that Megatron would switch off, or end in a traceback at the first one."""
    flags = {
        "async-save": args.async_save,
        "async-strategy": getattr(args, "async_strategy", None),  # 0.16 has none
        "use-persistent-ckpt-worker": args.use_persistent_ckpt_worker,
    }
    refuse_ignored_async_save(flags, "--")
    refuse_without_nvrx(flags, installed(MCORE), installed(NVRX))


def refuse_few_microbatches(args: Namespace) -> None:
    """Refuse at the start what Megatron's schedule for virtual stages fails on at the first iteration.

    Args:
        args: Megatron's arguments, validated, with its count of micro-batches set up.
    """
    from megatron.core.num_microbatches_calculator import get_num_microbatches

    if not args.virtual_pipeline_model_parallel_size:
        return
    stages = args.pipeline_model_parallel_size
    group = args.microbatch_group_size_per_vp_stage or stages
    if few := few_microbatches(get_num_microbatches(), stages, group):
        raise RefusedError(few, "change global_batch_size, micro-batch-size or DP, or drop the virtual stages.")


def _import_tokenizers(args: Namespace) -> None:
    """Import Megatron's tokenizers without ``transformers``, if ``args`` name one that does not need it.

    Megatron would import it for all, which takes a quarter of a rank's start on a CPU.
    """
    if (
        args.tokenizer_type not in _WITHOUT_TRANSFORMERS
        or getattr(args, "metadata_path", None)
        or "transformers" in sys.modules
    ):
        return
    with set_meanwhile(sys.modules, "transformers", None):  # which makes its import an ImportError
        importlib.import_module(installed_release().tokenizers)
