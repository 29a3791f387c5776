"""`python train.py --config=configs/coco.yaml`: the same as `softdet train`."""

import sys

from softdet.cli.main import main

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
