"""Sending: e-mail, Slack, signed webhooks, and the worker that takes from the outbox."""
