"""The seeded demonstration: generator, receivers, the story. Not here: anything production uses."""
