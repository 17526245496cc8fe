"""The quick start's data. In: what is installed beside this package. Out: ``.bin``/``.idx`` files for four versions."""
