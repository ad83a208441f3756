"""Door: where the `pf` script of Microsoft's devkit looks for its command."""

import sys

from promptflow.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
