import pytest

from tandem.carriers.urls import spellings, websocket_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.b/x", ["https://a.b/x", "https://a.b:443/x"]),
        ("https://a.b:8443/x?q=1", ["https://a.b:8443/x?q=1", "https://a.b/x?q=1"]),
        ("http://localhost:8000/x", ["http://localhost:8000/x", "http://localhost/x"]),
        ("http://a.b/x", ["http://a.b/x", "http://a.b:80/x"]),
        ("https://[::1]/x", ["https://[::1]/x", "https://[::1]:443/x"]),
        ("wss://[::1]:9/x", ["wss://[::1]:9/x", "wss://[::1]/x"]),
        ("https://a.b/x?u=https://a.b:1/", ["https://a.b/x?u=https://a.b:1/", "https://a.b:443/x?u=https://a.b:1/"]),
    ],
)
def test_spellings(url: str, expected: list[str]) -> None:
    assert list(spellings(url)) == expected


def test_a_url_that_is_none_has_one_spelling() -> None:
    assert spellings("/x") == ("/x",)


def test_the_origin_of_media_sockets() -> None:
    assert websocket_url("http://localhost:8000/") == "ws://localhost:8000"
    assert websocket_url("https://a.b") == "wss://a.b"
