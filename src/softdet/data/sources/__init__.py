"""Sources: whatever form the user's images and labels come in, read into one."""
