"""Scores of a version, and the decision to release it.

In: a version's checkpoint or its export, the plan's validation sets and lm-eval tasks, and a gate. Out: results.json
with perplexity, bits per byte and task scores, a model card that shows them, and the record that a version is released.
"""
