"""The same prompty from Python: ``python ask.py "your message"``."""

import sys
from pathlib import Path

from promptflow.core import Prompty

triage = Prompty.load(source=Path(__file__).parent / "triage.prompty")

if __name__ == "__main__":
    print(triage(message=" ".join(sys.argv[1:])))
