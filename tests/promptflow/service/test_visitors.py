"""Who may ask the service, and who may not."""

from __future__ import annotations

import http.client
import os
import socket
from pathlib import Path

import pytest

from promptflow.service.peer import user_of
from promptflow.service.visitors import VisitorError, check_visitor
from tests.promptflow.service.conftest import KEY, Service

NOBODY = 65534
LINUX = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux says whose a connection is")


@LINUX
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:{port}", "[::1]:{port}", "127.0.0.2"])
def test_programs_of_the_same_user_may(service: Service, host: str) -> None:
    assert service.ask("GET", "Connections/", Host=host.format(port=service.port))[0] == 200


@LINUX
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},  # a name that leads to this machine
        {"Host": "evil.example:23333"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost@evil.example"},
        {"Host": "[::1"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},  # a page of some other program of this machine
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_others_may_not(service: Service, headers: dict[str, str]) -> None:
    status, error = service.ask("GET", "Runs/said/archive", **headers)
    assert (status, error["error"]["code"]) == (403, "UserError")
    assert service.ask("GET", "Connections/", Authorization=f"Bearer {KEY}", **headers)[0] == 200


@LINUX
def test_a_page_of_the_server_itself_may(service: Service) -> None:
    own = f"http://127.0.0.1:{service.port}"
    assert service.ask("GET", "Connections/", Origin=own, Sec_Fetch_Site="same-origin")[0] == 200


@LINUX
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_other_users_of_the_machine_may_not(service: Service) -> None:
    for key, status in (("", 401), ("wrong", 401), (KEY, 200)):
        connection = http.client.HTTPConnection("127.0.0.1", service.port)
        os.seteuid(NOBODY)
        try:
            connection.connect()  # the socket is nobody's
        finally:
            os.seteuid(0)
        connection.request("GET", "/v1.0/Runs/", headers={"Authorization": f"Bearer {key}"} if key else {})
        answer = connection.getresponse()
        assert answer.status == status, answer.read()
        connection.close()


def test_other_machines_need_the_key() -> None:
    headers = [(b"host", b"localhost")]
    scope = {"client": ("192.0.2.7", 5), "server": ("192.0.2.1", 23333), "headers": headers}
    with pytest.raises(VisitorError, match="another machine") as refused:
        check_visitor(scope, KEY)
    assert refused.value.http_status == 401
    check_visitor({**scope, "headers": [*headers, (b"authorization", b"Bearer " + KEY.encode())]}, KEY)


def test_without_a_key_none_is_taken(service: Service) -> None:
    scope = {"client": ("192.0.2.7", 5), "server": ("192.0.2.1", 1), "headers": [(b"authorization", b"Bearer ")]}
    with pytest.raises(VisitorError):
        check_visitor(scope, "")


@LINUX
@pytest.mark.parametrize("family, host", [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_user_of_a_connection(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as listener:
        try:
            listener.bind((host, 0))
        except OSError:
            pytest.skip("no IPv6")
        listener.listen()
        with socket.create_connection(listener.getsockname()[:2]) as client:
            taken, address = listener.accept()
            with taken:
                assert user_of(address[:2], taken.getsockname()[:2]) == os.geteuid()
                client.close()
                assert user_of(address[:2], taken.getsockname()[:2]) is None  # nobody holds it


def test_a_system_that_does_not_say(tmp_path: Path) -> None:
    assert user_of(("127.0.0.1", 1), ("127.0.0.1", 2), [tmp_path / "none"]) is None
    assert user_of(("no address", 1), ("127.0.0.1", 2)) is None
