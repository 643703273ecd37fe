"""Claims of speed and memory, each a program that prints a ratio against a named peer in the same run."""
