"""`python -m tachyon`: the command line."""

import sys

from tachyon.cli import main

if __name__ == "__main__":
    sys.exit(main())
