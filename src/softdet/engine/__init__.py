"""What runs a method: the loop, the optimizer, checkpoints and the log; the method itself it knows as a protocol."""
