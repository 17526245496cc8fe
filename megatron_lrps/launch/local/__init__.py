"""The local executor: torchrun and its ranks, one path at a time."""
