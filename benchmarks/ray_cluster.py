"""Two Ray nodes on this machine: ``python -P`` runs it, and tells it on stdin what to do.

Prints ``{"address", "token"}`` as JSON once both are there. Lines on stdin: ``kill`` ends the second node as a power
cut would, ``add`` starts another; each is answered by ``done``. The end of stdin ends everything.
"""

import json
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


def serve(folder: Path) -> None:
    token = folder / "token"
    token.write_text(secrets.token_hex(32), encoding="ascii")
    os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(token), RAY_USAGE_STATS_ENABLED="0")
    from ray.cluster_utils import Cluster  # reads the settings when it is imported

    head = {**NODE, "include_dashboard": False, "temp_dir": str(folder)}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        second = cluster.add_node(**NODE)
        print(json.dumps({"address": cluster.address, "token": str(token)}), flush=True)
        for command in sys.stdin:
            if command.strip() == "kill":
                cluster.remove_node(second, allow_graceful=False)
            else:
                second = cluster.add_node(**NODE)
            print("done", flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    place = Path(tempfile.mkdtemp(prefix="pf-ray-", dir="/tmp"))  # short: Ray makes sockets in it
    try:
        serve(place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
