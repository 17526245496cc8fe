"""The sections of plan.yaml, one file each: what a key means, and which values it takes."""
