"""Upstream Pipelines: watches how insurance payers treat healthcare claims and says when it changes."""

__version__ = "0.1.0"
