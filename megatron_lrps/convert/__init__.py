"""Checkpoints to and from Hugging Face folders, tensor by tensor: neither a model nor a GPU is needed."""
