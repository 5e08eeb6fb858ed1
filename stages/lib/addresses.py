"""Addresses of servers as messages and notes may show them: without who asks, and with what password."""

import re

_WHO = re.compile(r"//[^@\s]*@(?:[^@/\s]*@)*")
"""A password may hold `/` (SQLAlchemy) and `@` (urllib): what stands before the last `@` of the host goes."""

_QUERY = re.compile(r"(password|passwd|pwd)=[^&\s'\"]*", re.IGNORECASE)


def without_password(text: str) -> str:
    """Return a text in which no address says who asks, and with what password."""
    return _QUERY.sub(r"\1=…", _WHO.sub("//…@", text))


def told(error: BaseException) -> str:
    """Return the first line of what a driver says, without passwords; the error's name if it is silent."""
    return without_password((str(error).strip().splitlines() or [type(error).__name__])[0])[:300]
