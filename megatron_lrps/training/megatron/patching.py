"""Putting hooks around another package's functions: checked first, and refused in plain words."""

import functools
import inspect
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from megatron_lrps.errors import LrpsError, RefusedError
from megatron_lrps.training.megatron.refusals import judge

_REPORT_S = 2.0


@dataclass(frozen=True)
class Hook:
    """A function to be wrapped.

    Attributes:
        module: Where callers look it up.
        name: Its name there.
        parameters: The first of its parameters, that the wrapper relies on.
        wrapper: Called with the original function and the caller's arguments.
    """

    module: Any
    name: str
    parameters: tuple[str, ...]
    wrapper: Callable[..., Any]


def put_in_place(hooks: Sequence[Hook], version: str, report: Callable[[LrpsError], None]) -> None:
    """Wrap all functions, or none.

    Args:
        hooks: What to wrap.
        version: The other package's, for messages.
        report: Told on every rank of an error of the family before it ends the process with its exit code.

    Raises:
        RefusedError: where a function is absent or takes other parameters.
    """
    for hook in hooks:
        function = getattr(hook.module, hook.name, None)
        found = tuple(inspect.signature(function).parameters) if callable(function) else ()
        if found[: len(hook.parameters)] != hook.parameters:
            raise RefusedError(
                f"{hook.module.__name__}.{hook.name} of megatron-core {version} takes ({', '.join(found)}), where the "
                f"plugin knows ({', '.join(hook.parameters)}, ...).",
                "install megatron-core 0.19.2, unmodified.",
            )
    for hook in hooks:
        original = getattr(hook.module, hook.name)
        guarded = functools.partial(refusing, hook.wrapper, original, report)
        setattr(hook.module, hook.name, functools.wraps(original)(guarded))


def refusing(
    wrapper: Callable[..., Any],
    original: Callable[..., Any],
    report: Callable[[LrpsError], None],
    *args: Any,
    **kwargs: Any,
) -> Any:
    """Call a hook; an error of the family becomes its plain text and its own exit code, on every rank.

    So does what Megatron refuses before training begins.
    """
    try:
        return wrapper(original, *args, **kwargs)
    except LrpsError as error:
        refusal = error
    except (Exception, SystemExit) as error:
        if (verdict := judge(error)) is None:
            raise
        refusal = verdict
    tell(refusal, report)
    raise SystemExit(refusal.exit_code) from refusal


def tell(error: LrpsError, report: Callable[[LrpsError], None]) -> None:
    """Report an error that ends this rank: rank 0 at once, another one where rank 0 has not ended the run with it."""
    if os.environ.get("RANK", "0") != "0":
        time.sleep(_REPORT_S)  # the first rank that leaves has the others killed: let rank 0 speak
    report(error)


def nothing_more(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A hook for what Megatron refuses there; it changes nothing."""
    return original(*args, **kwargs)
