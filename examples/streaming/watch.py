"""Calls the flow from Python and prints the reply while it is written: ``python watch.py``."""

import sys
from pathlib import Path

from promptflow.client import load_flow

flow = load_flow(Path(__file__).parent)
flow.context.streaming = True

if __name__ == "__main__":
    for piece in flow(message=" ".join(sys.argv[1:]) or "My parcel is late again. I am fed up.")["reply"]:
        print(piece, end="", flush=True)
    print()
