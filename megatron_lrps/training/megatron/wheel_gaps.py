"""What the megatron-core 0.19.2 wheel leaves open, on a GPU as well as on a CPU."""

import importlib
import re
import resource


def fix_wheel() -> None:
    """Apply all of this module's fixes in this process. Calling it again does no harm."""
    skip_helper_compilation()
    fix_help()
    measure_writer_memory()


def skip_helper_compilation() -> None:
    """Keep Megatron from running ``make`` where the compiled dataset helper is there already.

    The wheel ships the compiled module and no Makefile; ``initialize_megatron`` runs ``make`` all the
    same, and leaves the process when it fails. A source checkout without the module is left alone.
    """
    try:
        importlib.import_module("megatron.core.datasets.helpers_cpp")
    except ImportError:
        return
    _set("megatron.core.datasets.utils", "compile_helpers", lambda: None)


def fix_help() -> None:
    """Keep ``--help`` from crashing on a percent sign, and the command line from being slow to parse.

    Megatron makes help texts of its configuration's docstrings, one of which says "10%"; argparse takes
    the sign for a format. It reads them from the source at every parse, and parses at least twice: here
    each class is read once.
    """
    factory = importlib.import_module("megatron.training.argument_utils").ArgumentGroupFactory
    read = factory._get_field_docstrings
    texts: dict[type, dict[str, str]] = {}

    def escaped(self: object, source: type) -> dict[str, str]:
        if source not in texts:
            found = read(self, source).items()
            texts[source] = {name: re.sub(r"(?<!%)%(?![%(])", "%%", text) for name, text in found}
        return texts[source]

    factory._get_field_docstrings = escaped


def measure_writer_memory() -> None:
    """Let checkpoints be written without psutil, which the wheel needs there and does not require.

    The writer asks it for the process's memory, for a debugging line, and every save fails without it.
    Here the peak is given in its place, in bytes. Where psutil is installed nothing is changed.
    """
    module = "megatron.core.dist_checkpointing.strategies.filesystem_async"
    if not importlib.import_module(module).HAVE_PSUTIL:
        _set(module, "_process_memory", lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _set(module: str, name: str, value: object) -> None:
    setattr(importlib.import_module(module), name, value)
