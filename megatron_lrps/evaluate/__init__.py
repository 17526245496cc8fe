"""A version's scores, and what they decide: perplexity, lm-eval tasks, the gate, the release."""
