"""Arguments that the verbs of `pf catalog` share."""

from __future__ import annotations

from argparse import ArgumentParser


def add_id(parser: ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="ORGANISATION/NAME of the model.")


def add_endpoint(parser: ArgumentParser) -> None:
    parser.add_argument("--endpoint", metavar="URL", help="The hub to ask (HF_ENDPOINT, else https://huggingface.co).")
