"""What holds for all requests to models: what the system says of proxies and certificates, how long to wait."""

from __future__ import annotations

import os
import ssl
from importlib.util import find_spec

CONNECT_SECONDS = 15.0
READ_SECONDS = 600.0  # without a byte of an answer
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def behind_proxy() -> bool:
    """Whether the environment names a proxy: to look there for each request is costly."""
    return any(os.environ.get(name) for name in _PROXIES)


def certificates() -> ssl.SSLContext | bool:
    """The system's certificates; those of certifi on systems that have none, such as a fresh Python on macOS."""
    paths = ssl.get_default_verify_paths()
    if paths.cafile or (paths.capath and os.listdir(paths.capath)) or find_spec("certifi") is None:
        return True
    import certifi

    return ssl.create_default_context(cafile=certifi.where())
