"""Which events become alerts, and the outbox they wait in. Not here: sending (delivery/)."""
