"""Payer drift."""
