"""What a run came to: the detector, its scores, comparisons and pictures, and the folder that holds them."""
