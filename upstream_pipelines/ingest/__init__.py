"""How rows come in: landing zone, CSV reader, webhook inbox, uploads. Not here: what a claim line must hold."""
