"""The text table under its former name; it lives in ``monitor``, which may not import the command line."""

from megatron_lrps.monitor.text import table

__all__ = ["table"]
