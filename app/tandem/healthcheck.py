"""`python3 -m tandem.healthcheck`: exit 0 when the server of this container answers. It imports little."""

from __future__ import annotations

import http.client
import os
import sys

_EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # nothing is bound here


def healthy(host: str, port: int, seconds: float = 3.0) -> bool:
    """Whether `/healthz` there answers 200 in time."""
    connection = http.client.HTTPConnection(_EVERYWHERE.get(host, host), port, timeout=seconds)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if healthy(os.environ.get("HOST", ""), int(os.environ.get("PORT") or 8000)) else 1)
