"""The cache that other tools read too: its layout, what is in it, what may leave it, what is wrong with it."""
