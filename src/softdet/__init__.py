"""softdet: train an object detector from a few labeled images and a folder of unlabeled ones."""

__version__ = "0.1.0"
