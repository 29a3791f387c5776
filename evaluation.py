"""`python evaluation.py --config={exp_path}`: the same as `softdet evaluate`."""

import sys

from softdet.cli.main import main

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
