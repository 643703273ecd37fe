"""What an index knows: of a model, of many, of a stray file; and what it can be asked to do."""
