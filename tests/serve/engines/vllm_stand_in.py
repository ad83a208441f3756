"""Speaks the part of vLLM's HTTP surface that the engine uses, started as vLLM is: `python -P -m vllm... --uds=PATH`.

What it does is told by `stand_in.json` in the model's folder (`start_seconds`, `crash`, `sleepless`), and by the prompts: "die" ends
the process in the middle of the answer, "faint" its engine, which the process outlives by a second, "fail" fails, "count N" says N words, a pause of `pause` seconds before each. Every body it is
sent is a line of `asked.jsonl` in the model's folder; `started.jsonl` has how it was started.
"""

from __future__ import annotations

import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

CONTEXT = 512


def flags_of(argv: list[str]) -> dict[str, Any]:
    """``--name=value``, ``--name`` and ``--no-name`` after `-m MODULE`."""
    flags: dict[str, Any] = {}
    for word in argv[argv.index("-m") + 2 :]:
        name, equals, value = word.removeprefix("--").partition("=")
        flags[name.replace("-", "_")] = value if equals else True
    return flags


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128
    flags: dict[str, Any]
    folder: Path
    adapters: dict[str, str]
    asleep = fainted = False
    running = finished = 0
    lock = threading.Lock()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def address_string(self) -> str:
        return "local"

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/health":
            return self._bytes(b"", "text/plain", 503) if self.server.fainted else self._json({})
        if self.path == "/metrics":
            return self._bytes(self._metrics().encode(), "text/plain")
        if self.path == "/v1/models" and self._signed():
            names = [self.server.flags["served_model_name"], *self.server.adapters]
            return self._json({"data": [{"id": name, "max_model_len": CONTEXT} for name in names]})
        self._fail(404, "nothing here")

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else {}
        if path in ("/sleep", "/wake_up"):
            return self._nap(path)
        if not self._signed():
            return
        with self.server.lock, (self.server.folder / "asked.jsonl").open("a") as file:
            file.write(json.dumps({"path": path, **body}) + "\n")
        {
            "/v1/chat/completions": self._answer,
            "/v1/completions": self._answer,
            "/v1/load_lora_adapter": self._load,
            "/v1/unload_lora_adapter": self._unload,
            "/v1/embeddings": self._embed,
            "/v1/rerank": self._rank,
        }[path](body)

    def _signed(self) -> bool:
        if self.headers.get("authorization") == f"Bearer {os.environ['VLLM_API_KEY']}":
            return True
        self._fail(401, "Unauthorized")
        return False

    def _nap(self, path: str) -> None:
        if os.environ.get("VLLM_SERVER_DEV_MODE") != "1":
            return self._fail(404, "not in this mode")
        if self._told().get("sleepless"):
            return self._fail(500, "CUDA error")
        self.server.asleep = path == "/sleep"
        self._json({"status": "sleeping" if self.server.asleep else "awake"})

    def _load(self, body: dict[str, Any]) -> None:
        config = json.loads((Path(body["lora_path"]) / "adapter_config.json").read_text())
        if not self.server.flags.get("enable_lora"):
            return self._fail(404, "no LoRA")
        if config["r"] > int(self.server.flags["max_lora_rank"]):
            return self._fail(400, f"LoRA rank {config['r']} is greater than max_lora_rank")
        self.server.adapters[body["lora_name"]] = body["lora_path"]
        self._bytes(b"Success", "text/plain")

    def _unload(self, body: dict[str, Any]) -> None:
        if self.server.adapters.pop(body["lora_name"], None) is None:
            return self._fail(404, "no such adapter")
        self._bytes(b"Success", "text/plain")

    def _embed(self, body: dict[str, Any]) -> None:
        entries = [{"index": at, "embedding": [1.0, float(at)]} for at in range(len(body["input"]))]
        self._json({"data": entries, "usage": {"prompt_tokens": 3}})

    def _rank(self, body: dict[str, Any]) -> None:
        ranked = [{"index": at, "relevance_score": float(at)} for at in range(len(body["documents"]))]
        self._json({"results": ranked[::-1], "usage": {"total_tokens": 4}})

    def _answer(self, body: dict[str, Any]) -> None:
        chat = "messages" in body
        prompt = body["messages"][-1]["content"] if chat else body["prompt"]
        known = {self.server.flags["served_model_name"], *self.server.adapters}
        if body["model"] not in known or self.server.asleep:
            return self._fail(404, f"The model `{body['model']}` does not exist, or sleeps.")
        if prompt == "faint" and not self.server.fainted:
            self.server.fainted = True
            threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGKILL)).start()
        if self.server.fainted or prompt == "fail":
            return self._fail(500, "EngineCore encountered an issue.")
        words = ["said", "by", body["model"]]
        if prompt.startswith("count "):
            words = [str(number) for number in range(int(prompt.split()[1]))]
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        with self.server.lock:
            self.server.running += 1
        try:
            for number, word in enumerate(words):
                time.sleep(float(self._told().get("pause", 0)))
                self._event({"choices": [self._delta(chat, f"{word} ", None)]})
                if prompt == "die" and number == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
            self._event({"choices": [self._delta(chat, "", "stop")]})
            self._event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": len(words)}})
            self._chunk(b"data: [DONE]\n\n")
            self._chunk(b"")
        except OSError:
            self.close_connection = True
        finally:
            with self.server.lock:
                self.server.running -= 1
                self.server.finished += 1

    def _delta(self, chat: bool, text: str, finish: str | None) -> dict[str, Any]:
        said = {"delta": {"content": text}} if chat else {"text": text}
        return {"index": 0, **said, "finish_reason": finish}

    def _event(self, data: dict[str, Any]) -> None:
        self._chunk(b"data: " + json.dumps(data).encode() + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        self.wfile.flush()

    def _metrics(self) -> str:
        label = '{engine="0",model_name="m"}'
        ended = '{engine="0",finished_reason="stop",model_name="m"}'
        return (
            f"# HELP vllm:num_requests_running now\nvllm:num_requests_running{label} {self.server.running}.0\n"
            f"vllm:request_success_total{ended} {self.server.finished}.0\n"
            f"vllm:generation_tokens_total{label} {3 * self.server.finished}.0\nvllm:kv_cache_usage_perc{label} 0.25\n"
        )

    def _told(self) -> dict[str, Any]:
        file = self.server.folder / "stand_in.json"
        return json.loads(file.read_text()) if file.is_file() else {}

    def _fail(self, status: int, message: str) -> None:
        self._bytes(json.dumps({"error": {"message": message, "code": status}}).encode(), "application/json", status)

    def _json(self, data: Any) -> None:
        self._bytes(json.dumps(data).encode(), "application/json")

    def _bytes(self, data: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    flags = flags_of(sys.argv)
    folder = Path(flags["model"])
    file = folder / "stand_in.json"
    told = json.loads(file.read_text()) if file.is_file() else {}
    # As vLLM does: the model is in another process, which goes on when this one is killed.
    worker = subprocess.Popen(["sleep", "600"])
    record = {
        "pid": os.getpid(),
        "worker": worker.pid,
        "argv": sys.argv,
        "environ": dict(os.environ),
        "cwd": os.getcwd(),
    }
    with (folder / "started.jsonl").open("a") as out:
        out.write(json.dumps(record) + "\n")
    print("Available KV cache memory: 0.50 GiB", flush=True)
    print("Model loading took 0.25 GiB memory and 1.0 seconds", flush=True)
    time.sleep(float(told.get("start_seconds", 0)))
    if crash := told.get("crash"):
        if isinstance(crash, list):  # one for each start
            file.write_text(json.dumps({**told, "crash": crash[1:]}))
            crash = crash[0] if crash else ""
        if crash:
            print(f"(EngineCore pid=7) ERROR 11-21 16:38:56 [core.py:133] ValueError: {crash}", flush=True)
            print(
                "(APIServer pid=6) RuntimeError: Engine core initialization failed. See root cause above.", flush=True
            )
            sys.exit(1)
    signal.signal(signal.SIGTERM, lambda *_: (worker.kill(), os._exit(0)))
    with Server(flags["uds"], Handler) as server:
        server.flags, server.folder, server.adapters = flags, folder, {}
        server.serve_forever()


if __name__ == "__main__":
    main()
