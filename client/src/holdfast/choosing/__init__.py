"""From a reference to files: revisions, variants, and the one that fits this machine."""
