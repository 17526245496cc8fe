"""Megatron-Bridge trains a path of a plan: ``follow`` prepares its config and gives the callbacks for ``pretrain``."""

from megatron_lrps.bridge.following import follow

__all__ = ["follow"]
