"""Log lines: structured, to standard error, and without a place where a value could slip in."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure(log_format: Literal["auto", "json", "console"]) -> None:
    """Send our lines, and the warnings of libraries, to standard error in one format."""
    is_console = log_format == "console" or (log_format == "auto" and sys.stderr.isatty())
    renderer = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if is_console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*_SHARED, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_NoTraceback(renderer))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)


class _NoTraceback(structlog.stdlib.ProcessorFormatter):
    """Formats what libraries log. A traceback of theirs could print a value, so only its class is kept."""

    def __init__(self, renderer: structlog.typing.Processor) -> None:
        super().__init__(processor=renderer, foreign_pre_chain=_SHARED)

    def format(self, record: logging.LogRecord) -> str:
        if record.exc_info and record.exc_info[0] is not None:
            record.msg, record.args = f"{record.msg} ({record.exc_info[0].__name__})", record.args
        record.exc_info = record.exc_text = None
        return super().format(record)
