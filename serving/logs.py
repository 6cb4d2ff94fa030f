"""Logging of the gateway process: text for people, JSON for collectors."""

import logging
import sys

from saccade.serving.config.settings import LogConfig


def configure_logging(config: LogConfig) -> None:
    """Send logs of ours, of the HTTP server and of tracing to stderr in the configured form."""
    handler = logging.StreamHandler(sys.stderr)
    if config.format == "json":
        from pythonjsonlogger.json import JsonFormatter

        fields = "%(asctime)s %(levelname)s %(name)s %(message)s"
        handler.setFormatter(JsonFormatter(fields, rename_fields={"levelname": "level"}))
    else:
        handler.setFormatter(_TextFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("saccade", "uvicorn", "opentelemetry"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(config.level.upper())
        logger.propagate = False
    for name in ("uvicorn", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # Says on every machine without a GPU that Triton is not there.
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)


class _TextFormatter(logging.Formatter):
    """Puts the request id behind the message of records that have one."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        request_id = getattr(record, "request_id", None)
        return f"{text} [{request_id}]" if request_id else text
