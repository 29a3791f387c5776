"""Detections in the formats that annotation tools and scripts read; a module each, from records to text."""
