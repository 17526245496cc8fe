"""Checkpoints to and from Hugging Face folders, and to Megatron's own formats.

In: a version's torch_dist checkpoint, or a Hugging Face folder. Out: a Hugging Face folder with weights, config.json,
tokenizer and model card; a torch_dist checkpoint for another layout; or one file of weights. Tensors go through one
block at a time, so neither a GPU nor memory for the model is needed.
"""
