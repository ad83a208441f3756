"""The files around a flow that make it a container, and a folder that starts without one."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

PORT = 8080
USER = 10001  # a number, so that Kubernetes can tell that it is not root
PYTHON_IMAGE = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"

START = """\
#!/bin/sh
# Serves the flow beside this file, in a container or not.
cd "$(dirname "$0")" || exit 1
exec "${PYTHON:-python}" -m promptflow.serving .
"""
IGNORED = "**/__pycache__\n**/.env\n**/.promptflow\n.git\nkubernetes\nkserve\n"


@dataclass(frozen=True)
class Recipe:
    """What the files say. ``image`` is the base, ``setup`` a script of the flow that is run when the image is made,
    ``system`` are Debian's packages that it needs, ``folders`` what is copied beside settings and packages, ``health``
    the path that tells whether it lives, ``secret`` the name of the Secret with the ``variables``, ``first_request`` a
    command to try it with."""

    name: str
    variables: tuple[str, ...]
    image: str = ""
    setup: str = ""
    has_wheels: bool = False
    system: tuple[str, ...] = ()
    folders: tuple[str, ...] = ("flow", "connections")
    files: tuple[str, ...] = ("settings.json", "start.sh")
    health: str = "/health"
    secret: str = ""
    first_request: str = ""


def dockerfile(recipe: Recipe) -> str:
    wheels = "COPY wheels/ wheels/\n" if recipe.has_wheels else ""
    find = " --find-links wheels" if recipe.has_wheels else ""
    setup = f"RUN sh flow/{recipe.setup}\n" if recipe.setup else ""
    folders = "".join(f"COPY {name}/ {name}/\n{setup if name == 'flow' else ''}" for name in recipe.folders)
    # wherever it was told to listen, and not by the proxy that it may be behind
    where = f"'http://127.0.0.1:' + os.environ['PF_SERVING_PORT'] + '{recipe.health}'"
    check = f"import os, urllib.request as u; u.build_opener(u.ProxyHandler({{}})).open({where}, timeout=4)"
    apt = f"apt-get install -y --no-install-recommends {' '.join(recipe.system)}"
    system = f"RUN apt-get update && {apt} && rm -rf /var/lib/apt/lists/*\n" if recipe.system else ""
    return (
        "# syntax=docker/dockerfile:1\n"
        f"FROM {recipe.image or PYTHON_IMAGE}\n\n"
        "ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 \\\n"
        f"    PF_HOME_DIRECTORY=/tmp/promptflow PF_SERVING_HOST=0.0.0.0 PF_SERVING_PORT={PORT}\n"
        f"WORKDIR /app\n{system}\n"
        "# the packages first: they change more seldom than the rest\n"
        f"COPY requirements.lock ./\n{wheels}"
        f"RUN python -m pip install{find} -r requirements.lock\n\n"
        f"{folders}"
        f"COPY {' '.join(recipe.files)} ./\n\n"
        f"RUN useradd --system --uid {USER} --create-home flow\n"
        f"USER {USER}\n"
        f"EXPOSE {PORT}\n"
        "HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \\\n"
        f'    CMD ["python", "-c", "{check}"]\n'
        'CMD ["sh", "start.sh"]\n'
    )


def settings(recipe: Recipe) -> str:
    """The variables that the connections read, with no values."""
    return json.dumps(dict.fromkeys(recipe.variables, ""), indent=2) + "\n"


def readme(recipe: Recipe, manifests: str = "") -> str:
    given = "".join(f" -e {name}" for name in recipe.variables)
    exports = "".join(f"export {name}=...\n" for name in recipe.variables)
    needed = (
        "It reads these environment variables, which hold the secrets of its connections: "
        + ", ".join(f"`{name}`" for name in recipe.variables)
        + ". No secret is in this folder.\n"
        if recipe.variables
        else "It needs no secrets.\n"
    )
    return f"""# {recipe.name}, ready to serve

{needed}
| file | what it is |
|---|---|
| `flow/` | the flow |
| `connections/` | its connections, with `${{env:NAME}}` for secrets |
| `settings.json` | the names of those variables |
| `requirements.lock` | the packages, with the versions that the flow was built with |
| `Dockerfile`, `start.sh` | how it becomes a container, and starts |

## In a container

```sh
docker build -t {recipe.name} .
docker run -p {PORT}:{PORT}{given} {recipe.name}
```

## Without one

```sh
python -m pip install {"--find-links wheels " if recipe.has_wheels else ""}-r requirements.lock
{exports}python -m promptflow.serving .
```

Then open `http://localhost:{PORT}/` in a browser, or

```sh
{recipe.first_request}
```

| variable | what it does |
|---|---|
| `PROMPTFLOW_WORKER_NUM` | processes that answer (1) |
| `PROMPTFLOW_WORKER_THREADS` | requests at once in the synchronous code of a process (no limit) |
| `PF_SERVING_HOST`, `PF_SERVING_PORT` | where it listens (127.0.0.1, in the container all addresses; {PORT}) |
| `PF_FLOW_INIT_CONFIG` | arguments of the flow's class, as JSON |
| `PROMPTFLOW_RESPONSE_INCLUDED_FIELDS` | the outputs to answer with, as a JSON list |
{manifests}"""
