"""The code that depends on a release of Megatron: its names, signatures, formats and refusals."""
