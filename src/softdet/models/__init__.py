"""RetinaNet: backbone, feature pyramid, heads, criterion and postprocess, each a module of its own."""
