"""One flow over HTTP: ``pf flow serve``, containers, and any ASGI server (`create_app`)."""

from promptflow._lazy import lazy

_NAMES = {
    "ServeOptions": "promptflow.serving.options",
    "create_app": "promptflow.serving.app",
}
__all__ = list(_NAMES)
__getattr__, __dir__ = lazy(__name__, _NAMES)
