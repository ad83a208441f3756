"""The socket that servers start with."""

from __future__ import annotations

import socket

import pytest

from promptflow.exceptions import UserErrorException
from promptflow.workspace.http_server import listen


def test_an_address_is_of_one_process_from_the_moment_that_it_listens() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(UserErrorException, match=f"Cannot listen on 127.0.0.1:{port}: Address already in use"):
            listen("127.0.0.1", port)


def test_who_connects_before_the_first_request_is_taken_waits() -> None:
    with listen("127.0.0.1", 0) as listener:
        with socket.create_connection(listener.getsockname(), timeout=10) as early:
            early.sendall(b"hello")
            taken, _ = listener.accept()
            with taken:
                assert taken.recv(5) == b"hello"
