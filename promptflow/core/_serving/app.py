"""Door: ``promptflow.core._serving.app:create_app(engine=…)``, which the start scripts of old images name."""

from promptflow.serving.old_spelling import create_app

__all__ = ["create_app"]
