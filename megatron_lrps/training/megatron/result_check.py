"""Megatron's own check of results (``core/rerun_state_machine.py``), which ends a run for an impossible loss."""

_EXIT_CODES = (16, 17)
_RAISED = "Unexpected result"


def exit_code_of_check(leaving: BaseException) -> int | None:
    """Return the exit code with which the check ends all ranks together; None if something else ends them."""
    code = getattr(leaving, "code", None)
    return code if code in _EXIT_CODES else None


def raised_by_check(leaving: BaseException) -> bool:
    """Whether the check has raised an error, on this rank and perhaps on others."""
    return isinstance(leaving, RuntimeError) and _RAISED in str(leaving)


def rejected_result() -> str:
    """Say what the check rejected, if that was on this rank."""
    from megatron.core.rerun_state_machine import get_rerun_state_machine

    call = getattr(get_rerun_state_machine(), "failed_validation_call", None)
    said = getattr(getattr(call, "caller", None), "message", None)
    return str(said) if said else "the log names the rank and the value"
