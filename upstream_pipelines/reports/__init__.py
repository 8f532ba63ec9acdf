"""Reports of one customer and period: what they hold, how they look, who asked for them. Not here: runs (defs/), routes, commands."""
