"""The names of Megatron that the plugin touches: those that it hooks, replaces, and asks ``training`` for.

A name is looked up when it is used and never when this module is imported: the CPU backend must come before Megatron.
Names that are not the same in all releases are in the release's own file, such as ``release_0_19.py``.
"""

import functools
import importlib
import inspect
from argparse import Namespace
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from megatron_lrps.errors import RefusedError


@dataclass(frozen=True)
class Name:
    """A function or an object of Megatron, at the place where Megatron itself looks it up.

    Attributes:
        module: The module.
        attribute: Its name there, with dots for an attribute of a class.
        parameters: The parameters that the plugin gives or reads; for functions only.
    """

    module: str
    attribute: str
    parameters: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.module}.{self.attribute}"

    @property
    def owner(self) -> Any:
        """The module or the class that holds it; raises ImportError or AttributeError."""
        module: ModuleType = importlib.import_module(self.module)
        return functools.reduce(getattr, self.attribute.split(".")[:-1], module)

    @property
    def key(self) -> str:
        """Its name in its owner."""
        return self.attribute.rpartition(".")[2]

    def get(self) -> Any:
        """Look it up; raises ImportError or AttributeError."""
        return getattr(self.owner, self.key)

    def check(self, version: str, fix: str, package: str = "megatron-core") -> None:
        """Refuse a Megatron in which it is absent or takes other parameters.

        Args:
            version: The version of Megatron, for the message.
            fix: How to get a Megatron that has it.
            package: The package that is to have it.

        Raises:
            RefusedError: with both lists of parameters.
        """
        try:
            value = self.get()
        except (ImportError, AttributeError):
            raise RefusedError(f"{package} {version} has no {self}, which the plugin needs.", fix) from None
        found = tuple(inspect.signature(value).parameters) if callable(value) and self.parameters else ()
        if not set(self.parameters) <= set(found):
            raise RefusedError(
                f"{self} of {package} {version} takes ({', '.join(found)}), but the plugin relies on "
                f"({', '.join(self.parameters)}).",
                fix,
            )


def _training(function: str, *parameters: str) -> Name:
    return Name("megatron.training.training", function, parameters)


_STATE = ("model", "optimizer", "opt_param_scheduler")
_SAVED = (*_STATE, "num_floating_point_operations_so_far", "checkpointing_context")

SET_UP_MODEL = _training("setup_model_and_optimizer", "model_type")
LOAD_CHECKPOINT = _training("load_checkpoint", "ddp_model", *_STATE[1:])
GET_SCHEDULER = _training("get_optimizer_param_scheduler", "optimizer")
BUILD_DATASETS = _training(
    "build_train_valid_test_datasets", "build_train_valid_test_datasets_provider", "train_valid_test_num_samples"
)
BUILD_ITERATORS = _training("build_train_valid_test_data_iterators", "build_train_valid_test_datasets_provider")
DECIDE_EXIT = _training("checkpoint_and_decide_exit", "iteration", *_SAVED, "train_data_iterator")
SAVE = _training("save_checkpoint_and_time", "iteration", *_SAVED, "non_persistent_ckpt", "train_data_iterator")
TRAIN = _training("train", "forward_step_func", "model", "optimizer")
TRAINING_LOG = _training("training_log", "loss_dict", "iteration", "skipped_iter", "grad_norm")
EVALUATE = _training("evaluate", "forward_step_func", "data_iterator", "model", "eval_iters")
EVALUATE_SETS = _training("evaluate_and_print_results", "prefix", "forward_step_func", "data_iterator")
READ_TRACKER = Name("megatron.training.checkpointing", "read_metadata", ("tracker_filename",))

ARGUMENTS = Name("megatron.training", "get_args")
SIGNAL_HANDLER = Name("megatron.training.global_vars", "get_signal_handler")
GATHER_ITEM = Name("megatron.training.dist_signal_handler", "all_gather_item", ("item", "dtype"))
TENSORBOARD_WRITER = Name("megatron.training.global_vars", "get_tensorboard_writer")
WANDB_RUN = Name("megatron.training.global_vars", "_set_wandb_writer", ("args",))
"""Starts the run of W&B, on the last rank."""
WANDB_ARTIFACT = Name(
    "megatron.training.wandb_utils", "_get_artifact_name_and_version", ("save_dir", "checkpoint_path")
)
"""Names a checkpoint in W&B by the folder that it is in."""
SAMPLE_COUNTS = _training("get_train_valid_test_num_samples")

ASKED = (ARGUMENTS, SIGNAL_HANDLER, GATHER_ITEM, TENSORBOARD_WRITER, SAMPLE_COUNTS)
"""The functions that the plugin calls, and does not hook."""


OPTIMIZERS = "megatron.core.optimizer"
"""The module that looks for fused optimizers when it is imported."""
MAMBA_LAYERS = "megatron.core.ssm.mamba_mixer"
"""The module that looks for Mamba's kernels when it is imported."""
PRELOAD_TENSORS = Name(
    "megatron.core.dist_checkpointing.strategies.filesystem_async",
    "FileSystemWriterAsync.preload_tensors",
    ("write_buckets", "non_blocking"),
)
"""Copies a checkpoint's tensors before they are written in the background."""
TORCH_NORM = Name("megatron.core.transformer.torch_norm", "WrappedTorchNorm.__new__", ("config", "hidden_size", "eps"))
"""Makes the norms of models without Transformer Engine and apex."""
REDUCE = Name(
    "megatron.core.tensor_parallel.mappings", "_ReduceFromModelParallelRegion.forward", ("ctx", "input_", "group")
)
"""Adds up the parts of a layer's output over tensor ranks."""
MOVE_COUNTS = Name(
    "megatron.core.transformer.moe.token_dispatcher",
    "maybe_move_tensor_to_cpu",
    ("tensor", "as_numpy", "record_stream"),
)
"""Moves the numbers of tokens that go to each expert to the host."""
LOCAL_ATTENTION = Name(
    "megatron.core.transformer.dot_product_attention", "DotProductAttention.__init__", ("config", "softmax_scale")
)
"""Makes the attention of models without Transformer Engine."""
WRITER = Name("megatron.core.dist_checkpointing.strategies.async_utils", "PersistentAsyncCaller._persistent_process")
"""The process that writes a rank's checkpoints in the background; None if there is none."""


@dataclass(frozen=True, kw_only=True)
class HybridNames:
    """The names of a hybrid model, which are others in 0.17.

    Attributes:
        model: The model.
        stack: Its layers, one after another.
        submodules: The specification of each kind of layer.
        layers: Megatron's own specification, of Transformer Engine's modules.
        norm: The norm at the end of the stack, at the place where the stack looks it up.
    """

    model: Name
    stack: Name
    submodules: Name
    layers: Name
    norm: Name


@dataclass(frozen=True, kw_only=True)
class Release:
    """The names that differ from release to release, and the release that they belong to.

    Attributes:
        prefix: The beginning of its versions.
        newest: The version to install.
        parse_args: Parse the command line, one and the same function at each place.
        validate_args: Checks the arguments, and works out what they leave open.
        set_globals: Makes the tokenizer, the writers and the timers.
        initialize: Connects the ranks.
        tracker_files: The object whose ``open`` writes the tracker; one that is put in its place writes it instead.
        results_queue: Makes the queue for the results of a save's writers in a given way; None if it knows one way.
        tokenizers: The module of the tokenizers, which imports ``transformers``.
        compile_helpers: Compiles the data sets' helpers, which the wheel has compiled already.
        help_texts: Reads the help texts of flags from the source.
        writer_memory: Measures the memory of a checkpoint's writer.
        start_writer: Starts ``WRITER``, unless it runs; None if it has no function of its own.
        build_tokenizer: Makes the tokenizer that the arguments name.
        gpt: The module with the parts of GPT training that differ, as ``PARTS``. It imports Megatron.
        plain_evaluation: Whether an evaluation has no batch of its own, and its sets have numbers instead of names.
        steps_batches: Whether it has ``--step-batch-size-schedule``.
        hybrid: The names of hybrid models; None if the plugin trains none.
        common_file: The file in which a checkpoint has the arguments, if they are in a file of their own.
    """

    prefix: str
    newest: str
    parse_args: tuple[Name, ...]
    validate_args: Name
    set_globals: Name
    initialize: Name
    tracker_files: Name
    results_queue: Name | None
    tokenizers: str
    compile_helpers: Name
    help_texts: Name
    writer_memory: Name
    start_writer: Name | None
    build_tokenizer: Name
    gpt: str
    hybrid: HybridNames | None
    plain_evaluation: bool = False
    steps_batches: bool = True
    common_file: str | None = None

    @property
    def fix(self) -> str:
        """The way to get it, as a fix of a refusal."""
        return f"install megatron-core {self.newest}, unmodified."


def arguments() -> Namespace:
    """Return Megatron's arguments, parsed and validated."""
    args: Namespace = ARGUMENTS.get()()
    return args
