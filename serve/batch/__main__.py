"""``python -P -m serve.batch JOB``: works on a job until it has ended. `pf batch-endpoint invoke` starts it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from promptflow.workspace import Workspace
from serve.batch.work import work


def main(argv: Sequence[str] | None = None) -> int:
    (name,) = sys.argv[1:] if argv is None else argv
    with Workspace.open() as workspace:
        return work(workspace, name)


if __name__ == "__main__":
    sys.exit(main())
