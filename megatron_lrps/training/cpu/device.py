"""``torch.cuda`` answered by the host: one device, no streams, no memory figures, no warnings that there is no GPU.

Megatron asks for CUDA by name in some hundred places. Its questions are answered as a machine with one
device would answer them, and ``device="cuda"`` in a factory call or a move means the host.
"""

import contextlib
import functools
import re
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.distributions.uniform import Uniform

from megatron_lrps.training.cpu import rng
from megatron_lrps.training.cpu.collectives import gathered_unevenly

HOST = torch.device("cpu")

# fmt: off
_FACTORIES = (
    "arange", "as_tensor", "asarray", "empty", "empty_like", "empty_strided", "eye", "full",
    "full_like", "linspace", "logspace", "ones", "ones_like", "rand", "rand_like", "randint",
    "randint_like", "randn", "randn_like", "randperm", "tensor", "tril_indices", "triu_indices",
    "zeros", "zeros_like",
)
# fmt: on
_DRAWING = frozenset({"rand", "randint", "randn", "randperm"})
_NEW = ("new_empty", "new_empty_strided", "new_full", "new_ones", "new_tensor", "new_zeros")

_WITHOUT_EFFECT = ("init", "_lazy_init", "set_device", "set_stream", "synchronize", "empty_cache")
_MEMORY_FIGURES = (
    *("memory_allocated", "max_memory_allocated", "memory_reserved", "max_memory_reserved"),
    *("device_memory_used", "reset_peak_memory_stats"),
)

_LOCAL = "Transformer Engine and Apex are not installed. Falling back to local implementations of "
_WARNINGS = (
    _LOCAL + "multi_tensor_applier and multi_tensor_scale",
    _LOCAL + "multi_tensor_applier and multi_tensor_l2norm",
    _LOCAL + "multi_tensor_applier, multi_tensor_l2norm, and multi_tensor_scale",
    "Apex is not installed. Falling back to Torch Norm",
    "Only transformer-engine>=1.7.0 supports MoE experts, but your version is 0.0.0. "
    "Use local linear implementation instead.",
    "'pin_memory' argument is set as true but no accelerator is found, then device pinned memory won't be used.",
)
"""Warnings that say only that there is no GPU, each by its whole text."""

# Hopper: Megatron asks for the architecture to choose among flags, and this is what it is written for.
_CAPABILITY = (9, 0)


class Stream:
    """A stream on which everything has been done already: the host computes in order."""

    cuda_stream = 0
    device = HOST

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def synchronize(self, *args: object) -> None:
        """Return at once."""

    wait_stream = wait_event = synchronize

    def query(self) -> bool:
        """Return True: everything has been done."""
        return True

    def record_event(self, event: "Event | None" = None) -> "Event":
        """Record the time in ``event``, or in a new one."""
        event = event or Event()
        event.record()
        return event


class Event:
    """A moment on the host's clock."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self._seconds = 0.0

    def record(self, stream: object = None) -> None:
        """Take the time."""
        self._seconds = time.perf_counter()

    def synchronize(self, stream: object = None) -> None:
        """Return at once."""

    wait = synchronize

    def query(self) -> bool:
        """Return True: all work before the event has been done."""
        return True

    def elapsed_time(self, end: "Event") -> float:
        """Return the milliseconds from this event to ``end``."""
        return (end._seconds - self._seconds) * 1000.0


def is_cuda(device: object) -> bool:
    """Tell whether ``device`` names a GPU: an index, ``"cuda"``, ``"cuda:1"`` or such a ``torch.device``."""
    if isinstance(device, str):
        return device.startswith("cuda")
    if isinstance(device, torch.device):
        return device.type == "cuda"
    return isinstance(device, int) and not isinstance(device, bool)


def _always(answer: Any) -> Callable[..., Any]:
    """Make a function that gives ``answer``: a new one each time, as torch keeps tables of functions."""
    return lambda *args, **kwargs: answer


def _factory(function: Callable[..., Tensor], draws: bool) -> Callable[..., Tensor]:
    """Make a factory create on the host what is asked for on a GPU, drawn from the device's stream."""

    @functools.wraps(function)
    def on_host(*args: Any, **kwargs: Any) -> Tensor:
        if is_cuda(kwargs.get("device")):
            kwargs["device"] = HOST
            if draws and kwargs.get("generator") is None:
                kwargs["generator"] = rng.DEVICE_GENERATOR
        # Pinning is a promise to the GPU's driver; without one torch raises.
        kwargs.pop("pin_memory", None)
        return function(*args, **kwargs)

    return on_host


def _move(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make ``Tensor.to`` stay on the host when it is sent to a GPU."""

    @functools.wraps(function)
    def to_host(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if args and is_cuda(args[0]):
            args = (HOST, *args[1:])
        elif is_cuda(kwargs.get("device")):
            kwargs["device"] = HOST
        return function(tensor, *args, **kwargs)

    return to_host


def _type(function: Callable[..., Any]) -> Callable[..., Any]:
    """Name a tensor's type as on a GPU: Megatron's optimizer accepts ``torch.cuda.FloatTensor`` only."""

    @functools.wraps(function)
    def type_on_device(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        name = function(tensor, *args, **kwargs)
        if args or kwargs or tensor.device.type != "cpu":
            return name
        return name.replace("torch.", "torch.cuda.", 1)

    return type_on_device


def _uncompiled(model: Any = None, **kwargs: object) -> Any:
    """Replace ``torch.compile``, as function or decorator, by one that changes nothing."""
    return model if model is not None else _uncompiled


def _put(owner: ModuleType | type, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(owner, name, value)


def patch_torch() -> None:
    """Let ``torch.cuda`` answer for the host, in this process, and ignore warnings that there is no GPU."""
    for text in _WARNINGS:
        warnings.filterwarnings("ignore", message=re.escape(text) + r"\Z", category=UserWarning)
    properties = SimpleNamespace(
        name="CPU", major=_CAPABILITY[0], minor=_CAPABILITY[1], total_memory=0, multi_processor_count=1
    )
    answers: dict[str, Any] = {
        "is_available": True,
        "is_initialized": True,
        "device_count": 1,
        # An index, as on a GPU: Megatron also builds names like "cuda:0" of it.
        "current_device": 0,
        "get_device_capability": _CAPABILITY,
        "get_device_properties": properties,
        "get_device_name": properties.name,
        "current_stream": Stream(),
        "default_stream": Stream(),
        "is_current_stream_capturing": False,
        **dict.fromkeys(_WITHOUT_EFFECT),
        **dict.fromkeys(_MEMORY_FIGURES, 0),
    }
    _put(torch.cuda, {name: _always(answer) for name, answer in answers.items()})
    _put(
        torch.cuda,
        {
            "_lazy_call": lambda callback, **kwargs: callback(),
            "memory_stats": lambda device=None: defaultdict(int),
            "default_generators": (rng.DEVICE_GENERATOR,),
            "Stream": Stream,
            "Event": Event,
            # Contexts without effect, as there is one of each; classes, as Megatron names them in annotations.
            "stream": type("stream", (contextlib.nullcontext,), {}),
            "device": type("device", (contextlib.nullcontext,), {}),
        },
    )
    for module in (torch.cuda, torch.cuda.random):
        _put(module, rng.REPLACEMENTS)
    # The truth: torch's own data loader asks it whether pinning memory makes sense.
    _put(torch.accelerator, {"is_available": _always(False)})
    _put(torch, {name: _factory(getattr(torch, name), name in _DRAWING) for name in _FACTORIES})
    _put(torch, {"compile": _uncompiled})
    _put(torch.nn.functional, {"dropout": rng.dropout})
    _put(Uniform, {"rsample": rng.uniform_sample})
    _put(torch.distributed, {"all_gather": gathered_unevenly(torch.distributed.all_gather)})
    _put(
        torch.Tensor,
        {
            "to": _move(torch.Tensor.to),
            "type": _type(torch.Tensor.type),
            **{name: _factory(getattr(torch.Tensor, name), False) for name in _NEW},
            **{name: lambda tensor, *args, **kwargs: tensor for name in ("cuda", "pin_memory")},
        },
    )
