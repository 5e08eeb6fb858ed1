"""No message, note or log shows the password of a server."""

import pytest

from stages.lib.addresses import told, without_password


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:secret@host:5000/api", "http://…@host:5000/api"),
        ("postgresql+pg8000://u:secret/b@host/db", "postgresql+pg8000://…@host/db"),
        ("http://u:se@cret@host/", "http://…@host/"),
        ("postgresql://host/db?user=u&password=secret&x=1", "postgresql://host/db?user=u&password=…&x=1"),
        ("//a:secret@one and //b:secret@two", "//…@one and //…@two"),
        ("http://host/models:/digits@champion", "http://…@champion"),
        ("no address at all", "no address at all"),
    ],
)
def test_who_asks_and_the_password_are_not_shown(text: str, shown: str) -> None:
    assert without_password(text) == shown


def test_an_error_is_told_in_one_line_though_it_says_nothing() -> None:
    assert told(ConnectionError()) == "ConnectionError"
    assert told(OSError("http://a:secret@host refused\nmore")) == "http://…@host refused"
