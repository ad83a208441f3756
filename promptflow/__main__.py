"""`python -m promptflow …` is `pf …`, also where another package has put its own `pf` on PATH."""

from promptflow.cli.main import program

if __name__ == "__main__":
    program()
