"""The pages: one family a file. Views translate in, ask, and translate out; templates never query."""
