"""The `pf` program. `pf --version` is answered here, before anything else of ours (or argparse) is imported."""

import sys

from promptflow._version import __version__


def main(argv: list[str] | None = None) -> int:
    """Run one `pf` command line and return its exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    if words[:1] in (["--version"], ["-v"]):
        sys.stdout.write(f'{{\n  "promptflow": "{__version__}"\n}}\n')
        return 0
    # Inside the function on purpose: the line above must not pay for it.
    try:
        from promptflow.cli.dispatch import dispatch
    except ImportError as error:
        from promptflow.cli.overwritten import explain

        sys.stderr.write(explain(error) + "\n")
        return 1
    return dispatch(words)


def program() -> None:
    """`main` as a process. It ends as soon as all threads have and everything is written, without taking its objects
    apart one by one, which takes a fifth of the CPU of a short command."""
    code = main()
    if "threading" not in sys.modules:
        sys.exit(code)
    import atexit
    import os
    import threading

    try:
        threading._shutdown()  # type: ignore[attr-defined]  # joins threads and thread pools, as the interpreter does
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        sys.exit(code)  # the usual way, which says what went wrong
    os._exit(code)


if __name__ == "__main__":
    program()
