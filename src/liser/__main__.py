"""The command line as ``python -m liser``."""

from liser.cli.app import main

if __name__ == "__main__":
    main()
