"""What runs the method: the loop, the optimizer, checkpoints and evaluation."""
