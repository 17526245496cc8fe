"""Text, tokenizer, Megatron ``.bin``/``.idx`` files, and what identifies them.

``fingerprint`` and ``index_reader`` use the standard library alone; ``index`` and ``tokenizer`` import
Megatron and sentencepiece when they are called, not before.
"""
