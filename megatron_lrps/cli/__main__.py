"""``python -m megatron_lrps.cli``: the same as ``lrps``."""

from megatron_lrps.cli.app import main

main()
