"""Dagster glue only: assets, checks, sensors, schedules, jobs. Not here: any logic of the domain."""
