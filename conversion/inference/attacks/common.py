"""What attempts share."""

ENOUGH_BYTES = 256 * 2**20
"""Who has written or kept this much beyond its limits could go on to a terabyte."""
TERABYTE = 2**40


class Nothing(Exception):
    """It was allowed and got nothing."""
