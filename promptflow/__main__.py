"""`python -m promptflow …` is `pf …`, also where another package has put its own `pf` on PATH."""

import sys

from promptflow.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
