"""Services that show a run: W&B, which Megatron writes itself; MLflow and Comet, which get what TensorBoard gets."""
