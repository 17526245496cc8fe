"""The sections of plan.yaml, one file each: the meaning of each key, and its valid values."""
