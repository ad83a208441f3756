"""Every test has a workspace folder of its own: none touches the user's."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace folder, which the environment points to."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("PF_HOME_DIRECTORY", str(folder))
    for name in ("PF_DATABASE_URL", "PF_SECRET_KEY", "PF_DISABLE_TRACING", "PROMPTFLOW_CONNECTIONS"):
        monkeypatch.delenv(name, raising=False)
    return folder
