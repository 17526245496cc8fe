"""A branch whose samples have another length than the campaign's (``branch.sequence_length``): what it may change."""

from megatron_lrps.errors import PlanError
from megatron_lrps.plan.batch_schedule import BATCH_FLAGS
from megatron_lrps.plan.keys.branch import BranchSettings
from megatron_lrps.plan.keys.values import shown
from megatron_lrps.plan.megatron_arguments import by_flag, is_compared
from megatron_lrps.plan.model import Plan

_ROTARY = (
    *("rotary-base", "max-position-embeddings", "rotary-seq-len-interpolation-factor"),
    *("use-rope-scaling", "rope-scaling-factor"),
)
"""The flags of the model's identity that a branch of another length may set: they change how positions are turned, and
no tensor of a checkpoint."""
_LENGTHS = ("seq_length", "encoder_seq_length", "decoder_seq_length", "max_position_embeddings")
_WITHOUT_TABLE = ("rope", "none")


def refuse_other_length(plan: Plan, branch: str, own: BranchSettings) -> None:
    """Refuse a branch whose length or flags its fork point cannot be loaded with.

    Args:
        plan: The plan.
        branch: The name of the branch.
        own: What the plan says of it.

    Raises:
        PlanError: naming the key, its value and why.
    """
    length = own.sequence_length
    if length is None:
        if own.megatron:
            flag = next(iter(own.megatron))
            raise PlanError(
                f"branch.megatron.{flag}: {branch} has it without a sequence_length of its own, which it goes with.",
                "add branch.sequence_length, or move the flag to `megatron`.",
            )
        return
    key = f"branch.sequence_length: {length} is given for {branch}"
    if isinstance(own.data, str):
        raise PlanError(
            f"{key}, which reads windows ({own.data}), and their samples are cut for {plan.sequence_length} tokens.",
            "give it a blend: data: [[1.0, INDEX PREFIX OR VERSION]].",
        )
    kind = plan.megatron.get("position-embedding-type", "learned_absolute")
    if kind not in _WITHOUT_TABLE and not plan.megatron.get("use-rotary-position-embeddings"):
        table = f"a table of {plan.sequence_length} rows, one for each position, which no other length can load"
        raise PlanError(
            f"{key}, but the model's position-embedding-type is {kind}"
            + (f": {table}." if kind == "learned_absolute" else ", which is not supported with it."),
            "leave it out; such a branch needs a model with position-embedding-type: rope from the start.",
        )
    if plan.megatron.get("vocab-file"):
        raise PlanError(
            f"{key}, and with megatron.vocab-file Megatron loads only checkpoints of the same max-position-embeddings.",
            "name the vocabulary by `tokenizer`.",
        )
    for flag, value in own.megatron.items():
        if flag in BATCH_FLAGS:
            raise PlanError(
                f"branch.megatron.{flag}: {shown(value)} is given for {branch}, and a branch keeps main's batch.",
                "set it under `megatron`.",
            )
        argument = by_flag().get(flag)  # path_flags refuses a flag that Megatron does not have
        if argument is not None and is_compared(argument.destination) and flag not in _ROTARY:
            raise PlanError(
                f"branch.megatron.{flag}: {shown(value)} is given for {branch}, but main has trained this part of the "
                "model.",
                f"set it under `megatron`; a branch may set {', '.join(_ROTARY)}, and what is not compared.",
            )


def own_arguments_of(plan: Plan, name: str | None) -> tuple[str, ...]:
    """Return the destinations in which the branch of the version ``name`` may differ from its fork point."""
    own = plan.branch_of(name)
    if own.sequence_length is None:
        return ()
    return (*_LENGTHS, *(by_flag()[flag].destination for flag in own.megatron if flag in _ROTARY))


def rotary_flags_of(plan: Plan, name: str | None) -> dict[str, object]:
    """Return the flags of the model's identity that the branch of the version ``name`` sets itself."""
    return {flag: value for flag, value in plan.branch_of(name).megatron.items() if flag in _ROTARY}
