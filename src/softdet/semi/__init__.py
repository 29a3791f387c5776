"""The method and nothing else: the teacher, its pseudo-labels, how far to believe them, and the training step."""
