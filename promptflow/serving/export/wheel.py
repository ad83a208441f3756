"""A wheel of this very package, for a build whose container could not find this version anywhere."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import zipfile
from importlib import metadata
from pathlib import Path

NAME = "promptflow"
_LEFT_OUT = ("__pycache__", ".pyc")


def is_from_an_index() -> bool:
    """Whether pip fetched it by name: then it can do so again."""
    found = metadata.distribution(NAME)
    folder = Path(str(getattr(found, "_path", "")))
    return folder.suffix == ".dist-info" and found.read_text("direct_url.json") is None


def write_wheel(folder: Path) -> Path:
    """Pack what is installed, or the checkout that stands for it."""
    found = metadata.distribution(NAME)
    info = f"{NAME}-{found.version}.dist-info"
    target = folder / f"{NAME}-{found.version}-py3-none-any.whl"
    folder.mkdir(parents=True, exist_ok=True)
    record: list[str] = []
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as wheel:

        def add(name: str, content: bytes) -> None:
            wheel.writestr(name, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{name},sha256={digest},{len(content)}")

        for package in _packages(found):
            for file in sorted(package.rglob("*")):
                if file.is_file() and not any(part in str(file) for part in _LEFT_OUT):
                    add(file.relative_to(package.parent).as_posix(), file.read_bytes())
        add(f"{info}/METADATA", (found.read_text("METADATA") or found.read_text("PKG-INFO") or "").encode())
        add(f"{info}/entry_points.txt", (found.read_text("entry_points.txt") or "").encode())
        add(f"{info}/WHEEL", b"Wheel-Version: 1.0\nGenerator: pf\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        record.append(f"{info}/RECORD,,")
        wheel.writestr(f"{info}/RECORD", "\n".join(record) + "\n")
    return target


def _packages(found: metadata.Distribution) -> list[Path]:
    names = (found.read_text("top_level.txt") or NAME).split()
    specs = [spec for name in names if (spec := importlib.util.find_spec(name)) is not None]
    return [Path(next(iter(spec.submodule_search_locations))) for spec in specs if spec.submodule_search_locations]
