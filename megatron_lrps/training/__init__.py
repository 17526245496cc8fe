"""What runs inside Megatron's process."""
