"""A trained detector at work: prediction in bulk, the Python API, export and the model card."""
