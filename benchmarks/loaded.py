"""``loaded.py WORDS…``: a `pf` command, and then the names of all modules that it loaded."""

import sys

from promptflow.cli.main import main

try:
    main(sys.argv[1:])
finally:
    print("modules:", *sorted(sys.modules))
