"""What only looks at an extraction, each from top to bottom: rooms know how, the looks say what and in which order."""
