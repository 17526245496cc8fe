"""All that knows a release of Megatron: its names, signatures, formats, and what it refuses."""
