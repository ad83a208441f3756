"""Which endpoint a URL means."""

from __future__ import annotations

import pytest

from serve.gateway.paths import Target, error_style, locate


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/endpoints/shop/score", Target("shop", b"/score")),
        (b"/endpoints/shop/v2/models/m/infer", Target("shop", b"/v2/models/m/infer")),
        (b"/endpoints/shop/", Target("shop", b"/")),
        (b"/endpoints/%73hop/score", Target("shop", b"/score")),
        (b"/endpoints/..%2Fshop/score", Target("../shop", b"/score")),
        (b"/endpoints/%C3%A4/score", Target("%C3%A4", b"/score")),
        (b"/v2/models/shop/infer", Target("shop", b"/v2/models/shop/infer")),
        (b"/v1/models/shop:predict", Target("shop", b"/v1/models/shop:predict")),
        (b"/v1/models/shop", Target("shop", b"/v1/models/shop")),
        (b"/v1/chat/completions", Target("", b"/v1/chat/completions")),
        (b"/v1/models", None),
        (b"/v1/models/", None),
        (b"/endpoints/shop", None),
        (b"/endpoints//score", None),
        (b"/endpoints", None),
        (b"/health", None),
        (b"", None),
    ],
)
def test_a_path_means_an_endpoint(path: bytes, expected: Target | None) -> None:
    assert locate(path) == expected


def test_errors_are_told_as_each_dialect_has_it() -> None:
    styles = {
        path: error_style(path) for path in (b"/score", b"/invocations", b"/v2/models/m/infer", b"/v1/models/m:predict")
    }
    assert [*styles.values()] == ["azure", "mlflow", "inference", "inference"]
