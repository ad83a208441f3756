"""The model's server, for calls that become spans."""

from tests.fake_model import model_server

__all__ = ["model_server"]
