"""Ways in which a network on arrays learns: one method per file, all through the same phases."""
