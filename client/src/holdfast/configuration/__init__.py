"""What is configured: flags, variables, files, and the tokens that are kept."""
