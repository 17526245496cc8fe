"""All that knows a release of Megatron: its names, its signatures, its formats, and what it refuses."""
