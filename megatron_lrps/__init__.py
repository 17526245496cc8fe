"""Megatron-LRPS: train LLM versions by learning-rate path switching, on unmodified Megatron-Core.

``from megatron_lrps import register; register()`` adds the plugin to a user's own Megatron script.
Importing the package imports neither torch nor Megatron.
"""

from megatron_lrps.version import __version__


def register(*, cpu: bool = False) -> None:
    """Add the plugin's flags, scheduler, fork-or-resume and exit codes to ``megatron.training``.

    Call it once, before the script parses its arguments; with ``cpu=True`` (the CPU backend, for development)
    before it imports Megatron. Raises ``RefusedError`` where the installed
    Megatron-Core is not one that the hooks know.
    """
    from megatron_lrps.training.megatron.hooks import install

    install(cpu=cpu)


__all__ = ["__version__", "register"]
