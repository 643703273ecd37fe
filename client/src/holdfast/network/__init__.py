"""HTTP to an index: connections, redirects, patience, and the rule where a token may go."""
