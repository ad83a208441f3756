"""Train, export and evaluate the embedded model: ``python examples/embedded-model/build.py``."""

from __future__ import annotations

import argparse
from pathlib import Path

from evaluate import evaluate
from export import export
from model import Shape
from train import Recipe, train

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--work", type=Path, default=Path("build/embedded-model"), help="weights and log of the training"
    )
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "serve/engines/builtin/intent-mini")
    parser.add_argument("--steps", type=int, default=Recipe.steps, help="fewer for a trial")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    args = parser.parse_args()
    train(args.work, Recipe(steps=args.steps, seed=args.seed), Shape())
    export(args.work, args.out)
    evaluate(str(args.out), [HERE / "heldout.jsonl", HERE / "fresh.jsonl"], args.work / "evaluation.json")


if __name__ == "__main__":
    main()
