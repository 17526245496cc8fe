"""The quick start's data. In: packages installed beside this one. Out: ``.bin``/``.idx`` files for four versions."""
