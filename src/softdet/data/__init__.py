"""From files to batches: the COCO-JSON index, splits, datasets, loaders, views, and a synthetic set."""
