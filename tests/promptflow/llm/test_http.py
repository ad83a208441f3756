"""aiohttp as we import it: quick, and TLS connections are still checked against the system's certificates."""

from __future__ import annotations

import ipaddress
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

CLIENT = """
import asyncio, ssl, sys, threading
from promptflow.llm.http import aiohttp
assert "set_default_verify_paths" not in vars(ssl.SSLContext)

async def main():
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(sys.argv[1], sys.argv[2])

    async def answer(reader, writer):
        await reader.readuntil(b"\\r\\n\\r\\n")
        writer.write(b"HTTP/1.1 200 OK\\r\\ncontent-length: 2\\r\\n\\r\\nok")
        await writer.drain()
        writer.close()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server)
    port = listening.sockets[0].getsockname()[1]
    for _ in range(2):
        async with aiohttp.ClientSession() as session, session.get(f"https://127.0.0.1:{port}/") as response:
            print(await response.text())

asyncio.run(main())
"""


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


def ask(certificate: tuple[Path, Path], trusted: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CLIENT, *map(str, certificate)],
        env={"SSL_CERT_FILE": str(trusted), "SSL_CERT_DIR": str(trusted.parent / "none")},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_server_that_the_system_trusts_is_reached(certificate: tuple[Path, Path]) -> None:
    result = ask(certificate, certificate[0])
    assert result.stdout.split() == ["ok", "ok"], result.stderr


def test_a_server_that_the_system_does_not_trust_is_refused(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    result = ask(certificate, tmp_path / "empty.pem")
    assert result.returncode == 1
    assert "CERTIFICATE_VERIFY_FAILED" in result.stderr
