"""What TensorBoard shows of a campaign beside Megatron's own event files."""
