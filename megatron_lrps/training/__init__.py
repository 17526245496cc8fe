"""The plugin's code inside Megatron's process."""
