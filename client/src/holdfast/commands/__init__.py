"""One command per file: each is `run(args, settings, out) -> exit code`, a door to a verb elsewhere."""
