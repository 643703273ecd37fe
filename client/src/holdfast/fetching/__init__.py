"""Bytes on their way in: the plan, the streams, the digest that follows them, and the final name."""
