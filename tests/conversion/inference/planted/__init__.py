"""Artifacts with one thing wrong, made from the sample family, and what every check says of them.

`python -m tests.conversion.inference.planted [WORD…]` makes them all, judges each, and prints the table.
"""
