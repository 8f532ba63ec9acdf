"""Logs with redaction, request and run ids. Not here: what is logged."""
