"""Tests of Megatron-Bridge's loop: by its own code where a wheel of it is at hand, and by a stand-in everywhere."""

TERMINATED_AT = "LRPS_TERMINATED_AT"
"""The environment variable with the iteration during which ``tiny.py`` gets SIGTERM, as from a launcher."""
