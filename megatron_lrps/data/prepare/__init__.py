"""`lrps prepare`: raw text to tokenizer and Megatron `.bin`/`.idx` files."""
