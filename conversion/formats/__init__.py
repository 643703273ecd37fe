"""Readers of the files that hold weights (safetensors, GGUF, PyTorch, llama2.c), and writers of the first two.

Everything here is pure and works on byte ranges, so a header of a 400 GB checkpoint costs a few small reads.
Every header is hostile until proven: a reader returns facts it has checked against the size of the file,
or raises `HeaderError` and nothing else.
"""
