"""Two Ray nodes on this machine, for tests: ``python -P`` runs it, and tells it on stdin what to do.

Prints ``{"address", "client", "token"}`` as JSON once both are there. The line ``kill`` on stdin ends the second node as
a power cut would, and is answered by a line. The end of stdin ends everything.
"""

import json
import os
import secrets
import shutil
import socket
import sys
import tempfile
from pathlib import Path

_NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="pf-ray-", dir="/tmp"))  # short: Ray makes sockets in it
    try:
        serve(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def serve(folder: Path) -> None:
    token = folder / "token"
    token.write_text(secrets.token_hex(32), encoding="ascii")
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token), RAY_USAGE_STATS_ENABLED="0")
    from ray.cluster_utils import Cluster  # reads the settings when it is imported

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    head = {"include_dashboard": False, "temp_dir": str(folder), "ray_client_server_port": port}
    cluster = Cluster(initialize_head=True, head_node_args={**_NODE, **head})
    try:
        second = cluster.add_node(**_NODE)
        told = {"address": cluster.address, "client": f"127.0.0.1:{port}", "token": str(token)}
        print(json.dumps(told), flush=True)
        if sys.stdin.readline():
            cluster.remove_node(second, allow_graceful=False)
            print("done", flush=True)
            sys.stdin.read()
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    main()
