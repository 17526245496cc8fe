"""The executor of this machine: torchrun and its ranks, one path at a time."""
