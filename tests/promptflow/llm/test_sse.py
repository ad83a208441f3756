from __future__ import annotations

import pytest

from promptflow.llm.sse import EventParser, EventTooLong

STREAM = b': hello\r\ndata: {"a": 1}\r\n\r\nevent: x\ndata: one\ndata: two\n\ndata:[DONE]\n\n'


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_the_same_however_the_bytes_arrive(size: int) -> None:
    parser = EventParser()
    events = [e for i in range(0, len(STREAM), size) for e in parser.feed(STREAM[i : i + size])]
    assert events + parser.end() == [b'{"a": 1}', b"one\ntwo", b"[DONE]"]


def test_the_last_event_may_lack_its_empty_line() -> None:
    parser = EventParser()
    assert parser.feed(b"data: x") == []
    assert parser.end() == [b"x"]


def test_an_endless_event_is_refused() -> None:
    parser = EventParser()
    with pytest.raises(EventTooLong):
        for _ in range(20):
            parser.feed(b"x" * (1 << 20))
