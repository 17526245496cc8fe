"""The quick start's data: real text that is installed beside this package, as four windows."""
