"""The evidence: which runs there are to make, making them, measuring them, and the tables they end in."""
