"""The sample family as GGUF files, for every test below."""

from tests.conversion.inference.conftest import converted  # noqa: F401
