"""What runs the method: the loop, the optimizer, checkpoints, evaluation and prediction."""
