"""Rules over claim lines, PHI detection, the report of an upload. Not here: Dagster checks (defs/)."""
