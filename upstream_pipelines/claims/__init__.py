"""The claim line: its contract, keys, normalising and merging. Not here: reading files."""
