"""Doctor: what is wrong with the images and labels, found before the long run."""
