"""A PACS that misbehaves as it is told, and remembers what it was asked."""
