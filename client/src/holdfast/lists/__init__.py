"""Lists of models: what is wanted (models.txt), what may be (policy.txt), what it is exactly (models.lock)."""
