"""Holdfast's client: takes open weights home, verified."""

__version__ = "0.1.0"
