"""The HTTP API: authorise, call a domain function, shape the answer. Not here: queries, rules."""
