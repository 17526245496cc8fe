"""The run folder on disk: lineage, checkpoints, fork or resume, preflight."""
