"""The drift arena: simulated customers, contestants, and the measures that compare them. Run: python -m benchmarks.drift_arena.

Not here: anything of the product but a call of `upstream_pipelines.drift.replay` in contestants.py.
"""
