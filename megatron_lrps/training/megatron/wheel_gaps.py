"""Fills the gaps of the megatron-core wheel, on a GPU as well as on a CPU."""

import importlib
import re
import resource
from collections.abc import Callable

from megatron_lrps.training.megatron.installed import installed_release, installed_version
from megatron_lrps.training.megatron.names import Release
from megatron_lrps.training.megatron.patching import Call, Hook, fill_gaps


def fill_wheel_gaps() -> None:
    """Fill all gaps in this process. Calling it again does no harm; raises RefusedError as ``installed_release``."""
    _fill(_helper_compilation, _help_texts, _writer_memory)


def fill_writer_gaps() -> None:
    """Fill the gaps that a checkpoint writer's process meets."""
    _fill(_writer_memory)


def _fill(*gaps: Callable[[Release], list[Hook]]) -> None:
    release = installed_release()
    fill_gaps([hook for gap in gaps for hook in gap(release)], installed_version(), release.fix)


def _helper_compilation(release: Release) -> list[Hook]:
    """Keep Megatron from running ``make`` if the compiled dataset helper is there already.

    The wheel ships the compiled module and no Makefile; ``initialize_megatron`` runs ``make`` all the
    same, and leaves the process when it fails. A source checkout without the module is left alone.
    """
    try:
        importlib.import_module("megatron.core.datasets.helpers_cpp")
    except ImportError:
        return []
    return [Hook(release.compile_helpers, lambda call: None)]


def _help_texts(release: Release) -> list[Hook]:
    """Keep ``--help`` from crashing on a percent sign, and the command line from being slow to parse.

    Megatron makes help texts of its configuration's docstrings, one of which says "10%"; argparse takes
    the sign for a format. It reads them from the source at every parse, and parses at least twice: here
    each class is read once.
    """
    texts: dict[type, dict[str, str]] = {}

    def escaped(call: Call) -> dict[str, str]:
        source = call["src_cfg_class"]
        if source not in texts:
            found = call.proceed().items()
            texts[source] = {name: re.sub(r"(?<!%)%(?![%(])", "%%", text) for name, text in found}
        return texts[source]

    return [Hook(release.help_texts, escaped)]


def _writer_memory(release: Release) -> list[Hook]:
    """Let checkpoints be written without psutil, which the wheel needs there and does not require.

    The writer asks it for the process's memory, for a debugging line, and every save fails without it.
    Here the peak is given in its place, in bytes. If psutil is installed, nothing is changed.
    """
    if release.writer_memory.owner.HAVE_PSUTIL:
        return []
    return [Hook(release.writer_memory, lambda call: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)]
