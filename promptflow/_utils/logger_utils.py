"""Door: loggers under Microsoft's private name."""

import logging

logger = logging.getLogger("promptflow")
flow_logger = bulk_logger = service_logger = logger


def get_logger(name: str) -> logging.Logger:
    return logging.getLogger(name)


class LoggerFactory:
    @staticmethod
    def get_logger(name: str, **_: object) -> logging.Logger:
        return logging.getLogger(name)
