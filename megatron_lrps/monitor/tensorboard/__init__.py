"""A campaign's data for TensorBoard beside Megatron's own event files."""
