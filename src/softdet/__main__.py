"""`python -m softdet`, the same as the command `softdet`."""

from softdet.cli.main import main

if __name__ == "__main__":
    main()
