"""A campaign on disk: its paths, their checkpoints and records, what may not change, what stays."""
