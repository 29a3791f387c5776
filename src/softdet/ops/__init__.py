"""Pure tensor functions: boxes, affine maps, anchors, box coding, matching, losses; no model, no config."""
