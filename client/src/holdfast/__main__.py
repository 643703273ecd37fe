"""`python -m holdfast` is the console script."""

from holdfast.cli import console

if __name__ == "__main__":
    console()
