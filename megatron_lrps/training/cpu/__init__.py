"""CPU backend: the same Megatron code, without a GPU, over gloo.

For development, tests and the quick start; it computes what a GPU would, slowly. ``install`` patches, in
the calling process alone:

- ``torch.cuda``: one device without streams or memory figures, and ``device="cuda"`` means the host
  (``device``), because Megatron asks for CUDA by name everywhere. Warnings that say only that there is no
  GPU are ignored, each by its whole text;
- the device's random numbers: generators apart from the host's (``rng``), so that dropout differs between
  tensor-parallel ranks and a resumed run equals the uninterrupted one digit for digit;
- the optimizer: an Adam with the fused ones' state (``adam``), offered as ``apex.optimizers`` while
  Megatron imports its own, because torch's does not resume under the distributed optimizer;
- the norms: LayerNorm and RMSNorm that work under sequence parallelism and with zero-centred weights (``norms``);
- the layers: experts with a bias or exchanged all to all, and multi-latent attention, on Megatron's local modules
  (``modules``);
- Mamba's scan and its gated norm, offered as ``mamba_ssm`` while Megatron imports its Mamba layers
  (``selective_scan``);
- ``all_gather`` of parts of different sizes, as distributed Muon gathers them (``collectives``);
- the checkpoint writer: a copy before a save in the background (``snapshot``), also in the writer's own
  process (``worker``), which would otherwise save later iterations' weights.

It never switches itself on, never replaces a GPU that is there, changes no numbers of Megatron's, and
patches no file. Megatron needs the flags and the environment of ``megatron_lrps.plan.cpu_flags`` with it.
Not on a CPU, because Megatron itself needs Transformer Engine for them: context parallelism, FP8.
"""

import importlib
import multiprocessing
import os
import sys

from megatron_lrps.errors import RefusedError
from megatron_lrps.plan.cpu_flags import CPU_ENV

__all__ = ["install", "is_installed", "patch"]

_patched = False
_installed = False


def is_installed() -> bool:
    """Tell whether ``install`` has been called in this process."""
    return _installed


def install() -> None:
    """Let Megatron train on this machine's CPU, in this process; calling it again does nothing.

    Call it before anything imports ``megatron``. Sets those variables of ``CPU_ENV`` that are not set;
    torch reads some of them when it is imported, so a launcher had better set them. Says so in one line on rank 0.

    Raises:
        RefusedError: A CUDA GPU is present, or ``megatron.core`` has been imported already.
    """
    global _installed
    if _installed:
        return
    for name, value in CPU_ENV.items():
        os.environ.setdefault(name, value)
    patch()
    # --use-persistent-ckpt-worker starts its writers through the fork server.
    multiprocessing.set_forkserver_preload(["megatron_lrps.training.cpu.worker"])
    from megatron_lrps.training.megatron.installed import installed_release

    # The process that collects the results of a save's writers. A spawned one, Megatron's default, imports torch
    # anew in each rank's first save, which takes seconds; a fork is safe without CUDA.
    if (queue := installed_release().results_queue) is not None:
        queue.get()(mp_mode="fork")
    _installed = True
    if os.environ.get("RANK", "0") == "0":
        print(
            "Megatron-LRPS: CPU backend, for development, tests and the quick start; GPUs train for real.", flush=True
        )


def patch() -> None:
    """Do the part of ``install`` that forked processes inherit: no process, no variable. Raises as ``install``."""
    global _patched
    if _patched:
        return
    import torch

    if torch.cuda.is_available():
        raise RefusedError(
            f"The CPU backend was asked for, but this machine has {torch.cuda.device_count()} CUDA GPU(s).",
            "leave the CPU backend out, or hide the GPUs: CUDA_VISIBLE_DEVICES= (empty).",
        )
    if "megatron.core" in sys.modules:
        raise RefusedError(
            "The CPU backend was asked for after megatron.core had been imported.",
            "call install() before anything imports megatron.",
        )
    from megatron_lrps.training.cpu import adam, device, modules, norms, selective_scan, snapshot
    from megatron_lrps.training.megatron import names
    from megatron_lrps.training.megatron.patching import replace

    device.patch_torch()
    with adam.offered_as_apex():
        importlib.import_module(names.OPTIMIZERS)
    with selective_scan.offered_as_mamba_ssm():
        importlib.import_module(names.MAMBA_LAYERS)
    for name, made in (
        (names.TORCH_NORM, norms.wrapped),
        (names.REDUCE, modules.with_own_output),
        (names.LOCAL_ATTENTION, modules.with_channels),
        (names.MOVE_COUNTS, modules.moved),
    ):
        replace(name.owner, name.key, made(name.get()))
    replace(names.PRELOAD_TENSORS.owner, names.PRELOAD_TENSORS.key, snapshot.snapshot)
    _patched = True
