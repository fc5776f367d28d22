"""What is said of an error that nobody foresaw: its kind and its place, without the values that a traceback prints."""

from __future__ import annotations


def crash(error: BaseException) -> dict[str, str]:
    """Return the members of a log line about it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}" if trace else "unknown"
    return {"error": type(error).__name__, "where": where}
