"""Make a virtual environment with an editable install, again only when what it is made from has changed.

usage: environment.py FOLDER EXTRAS      (`make install` and `make install-all` call it)
"""

# Runs on any Python 3, so that an old one gets a sentence and not a SyntaxError.
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST = (3, 11)
TORCH = "torch==2.13.0"


def main(folder, extras):
    if sys.version_info < OLDEST:
        found = f"{sys.executable} is {sys.version.split()[0]}"
        return f"Python >= 3.11 is needed, and {found}: make PYTHON=/path/to/python3.12 ..."
    os.chdir(ROOT)
    wanted = digest(extras)
    if stamp(folder) == wanted:
        return 0
    # Two makes at once: the second waits, and finds the work done. All environments share one lock, since pip writes
    # the same build folders into the checkout for each.
    with open("pyproject.toml") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp(folder) != wanted:
            make(folder, extras)
            with open(os.path.join(folder, ".inputs"), "w") as file:
                file.write(wanted)
    return 0


def digest(extras):
    """A hash of all that the environment is made from. The settings of linters are not of it."""
    import tomllib

    with open("pyproject.toml", "rb") as file:
        project = tomllib.load(file)
    with open(__file__, "rb") as file:
        script = file.read().decode()
    made_from = [project["build-system"], project["project"], project["tool"]["setuptools"]]
    text = json.dumps([made_from, script, extras, ROOT, sys.version, sys.base_prefix])
    return hashlib.sha256(text.encode()).hexdigest()


def stamp(folder):
    """The hash that the environment was made from; nothing if it is not there or was left half made."""
    try:
        with open(os.path.join(folder, ".inputs")) as file:
            return file.read() if os.path.exists(os.path.join(folder, "bin", "python")) else ""
    except OSError:
        return ""


def make(folder, extras):
    print(f"making {folder} with promptflow[{extras}]", file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    # The base interpreter: this one may be the environment that has just been removed.
    python = getattr(sys, "_base_executable", None) or sys.executable
    strays = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
    environ = {name: value for name, value in os.environ.items() if name not in strays}
    quiet = ["-qq", "--no-input", "--disable-pip-version-check"]
    # A path entry rather than import hooks, which cost every start 8 ms that an installed wheel does not have.
    plain = ["--config-settings", "editable_mode=compat"]
    pip = [os.path.join(folder, "bin", "python"), "-m", "pip", "install", *quiet]
    # torch by itself first: what comes with it (CUDA or not) is its own build's matter, and nothing else asks again.
    first = [[*pip, TORCH]] if "local" in extras.split(",") else []
    # A recent pip: the `pf` that older ones write spends 5 ms on importing `re`.
    newest = [*pip, "--upgrade", "pip"]
    for command in ([python, "-m", "venv", folder], newest, *first, [*pip, *plain, "-e", f".[{extras}]"]):
        subprocess.run(command, check=True, env=environ, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(error.cmd)} ended with {error.returncode}")
