"""The `upstream` command. Not here: anything another program would want to call."""
