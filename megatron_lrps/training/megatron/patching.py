"""The one place that changes Megatron: each name is checked before any is replaced, and refused in plain words.

A hook is called in place of Megatron's function, with the ``Call`` that Megatron has made: it reads the arguments by
name, and goes on with Megatron's own function, or does not.
"""

import contextlib
import functools
import inspect
import os
import time
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from megatron_lrps.errors import LrpsError
from megatron_lrps.training.megatron.names import Name
from megatron_lrps.training.megatron.refusals import judge

Report = Callable[[LrpsError], None]
_REPORT_S = 2.0
_HOOK = "lrps_hook"


@dataclass(slots=True)
class Call:
    """One call of a hooked function.

    Attributes:
        original: Megatron's function.
        signature: Its signature.
        args: The arguments by position.
        kwargs: The arguments by name.
    """

    original: Callable[..., Any]
    signature: inspect.Signature
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    _named: dict[str, Any] | None = None

    def __getitem__(self, name: str) -> Any:
        """Return an argument by its parameter's name, or the parameter's default."""
        if self._named is None:
            self._named = self.signature.bind(*self.args, **self.kwargs).arguments
        return self._named[name] if name in self._named else self.signature.parameters[name].default

    def proceed(self, **changed: Any) -> Any:
        """Call Megatron's function, with some of its arguments changed."""
        if not changed:
            return self.original(*self.args, **self.kwargs)
        bound = self.signature.bind(*self.args, **self.kwargs)
        bound.arguments.update(changed)
        return self.original(*bound.args, **bound.kwargs)


@dataclass(frozen=True)
class Hook:
    """A function of Megatron to be hooked.

    Attributes:
        name: The function, with the parameters that the hook relies on.
        run: Called in its place.
    """

    name: Name
    run: Callable[[Call], Any]


def put_in_place(hooks: Sequence[Hook], version: str, fix: str, report: Report) -> None:
    """Hook all functions, or none. A refusal by Megatron in them before training ends the process with a message.

    Args:
        hooks: The hooks.
        version: Megatron's version, for messages.
        fix: How to get a Megatron that fits.
        report: Told on every rank of an ``LrpsError`` before it ends the process with its exit code.

    Raises:
        RefusedError: if a function is absent or takes other parameters.
    """
    for hook in hooks:
        hook.name.check(version, fix)
    for hook in hooks:
        _put(hook, functools.partial(_refusing, report=report))


def fill_gaps(gaps: Sequence[Hook], version: str, fix: str) -> None:
    """Hook functions that refuse nothing; already hooked ones are left alone. Raises as ``put_in_place``."""
    gaps = [gap for gap in gaps if not is_in_place(gap.name)]
    for gap in gaps:
        gap.name.check(version, fix)
    for gap in gaps:
        _put(gap, lambda run, call: run(call))


def replace(owner: Any, attribute: str, value: Any) -> None:
    """Replace an object of Megatron's, which needs no hook or cannot have one, by one of the plugin's."""
    static = isinstance(inspect.getattr_static(owner, attribute), staticmethod)  # AttributeError if nothing is there
    setattr(owner, attribute, staticmethod(value) if static else value)


@contextlib.contextmanager
def set_meanwhile(mapping: MutableMapping[str, Any], key: str, value: Any) -> Iterator[None]:
    """Set an entry of a mapping in the block; after it the mapping is as it was."""
    before = mapping.get(key)
    mapping[key] = value
    try:
        yield
    finally:
        if before is None:
            del mapping[key]
        else:
            mapping[key] = before


def is_in_place(name: Name) -> bool:
    """Whether a function is hooked already."""
    return hasattr(name.get(), _HOOK)


def _put(hook: Hook, run: Callable[[Callable[[Call], Any], Call], Any]) -> None:
    owner, original = hook.name.owner, hook.name.get()
    # Signatures are looked up once: every iteration passes two hooks.
    signature = inspect.signature(original)

    @functools.wraps(original)
    def hooked(*args: Any, **kwargs: Any) -> Any:
        return run(hook.run, Call(original, signature, args, kwargs))

    setattr(hooked, _HOOK, hook)
    replace(owner, hook.name.key, hooked)


def _refusing(run: Callable[[Call], Any], call: Call, report: Report) -> Any:
    """Run a hook; an ``LrpsError`` becomes its plain text and its own exit code, on every rank.

    So does a refusal by Megatron before training begins.
    """
    try:
        return run(call)
    except LrpsError as error:
        refusal = error
    except (Exception, SystemExit) as error:
        if (verdict := judge(error)) is None:
            raise
        refusal = verdict
    tell(refusal, report)
    raise SystemExit(refusal.exit_code) from refusal


def tell(error: LrpsError, report: Report) -> None:
    """Report an error that ends this rank: rank 0 at once, another one if rank 0 has not ended the run with it."""
    if os.environ.get("RANK", "0") != "0":
        time.sleep(_REPORT_S)  # the first rank that leaves has the others killed: let rank 0 speak
    report(error)
