"""Addresses of servers as they may be shown: in messages, notes and logs, without who asks and the password."""

import re

_WHO = re.compile(r"//[^@\s]*@(?:[^@/\s]*@)*")
"""A password may hold `/` (SQLAlchemy) and `@` (urllib): what stands before the last `@` of the host goes."""

_QUERY = re.compile(r"(password|passwd|pwd)=[^&\s'\"]*", re.IGNORECASE)


def without_password(text: str) -> str:
    """Return a text in which no address says who asks, and with what password."""
    return _QUERY.sub(r"\1=…", _WHO.sub("//…@", text))


def told(error: BaseException) -> str:
    """Return the first line of what a driver or a server says, without passwords; its name if it is silent."""
    return without_password((str(error).strip().splitlines() or [type(error).__name__])[0])[:300]
