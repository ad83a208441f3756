"""A stand-in for the engine server: same arguments, same port file, same key; it answers /health and /v1/models."""

from __future__ import annotations

import argparse
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        allowed = self.path == "/health" or self.headers["Authorization"] == f"Bearer {os.environ['PF_ENGINE_KEY']}"
        self.send_response(200 if allowed else 401)
        self.end_headers()


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--model", "--host", "--port", "--idle", "--port-file"):
        parser.add_argument(name, required=True)
    args = parser.parse_args()
    if args.model == "broken":
        raise SystemExit("onnxruntime is not installed")
    server = ThreadingHTTPServer((args.host, int(args.port)), Handler)
    port_file = Path(args.port_file)
    port_file.with_suffix(".new").write_text(str(server.server_port))
    port_file.with_suffix(".new").replace(port_file)
    server.serve_forever()


if __name__ == "__main__":
    main()
