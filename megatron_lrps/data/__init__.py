"""Training data. In: text. Out: Megatron's ``.bin``/``.idx`` files, tokenizers, and the fingerprints of both.

- ``prepare``: what `lrps prepare` does.
- ``quickstart``: the text of the quick start and the studies.
- ``index_writer``, ``index_reader``: write ``.bin`` and ``.idx``, and count what they hold.
- ``fingerprint``: identifies data and tokenizers.
- ``library``: imports the libraries that only some data need.
- ``tokenizer_size``: the vocabulary of a plan's tokenizer.
"""
