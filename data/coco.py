"""Prepare COCO: `python data/coco.py`, the same as `softdet prepare coco --root ROOT --out OUT`.

Arguments work as they do there and win over the two defaults below.
"""

import sys

from softdet.cli.main import main

ROOT = "data/coco"
OUT = "data"

if __name__ == "__main__":
    main(["prepare", "coco", "--root", ROOT, "--out", OUT, *sys.argv[1:]])
