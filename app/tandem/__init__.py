"""Tandem: a telephony bridge between carriers' media streams and realtime voice models."""

import sys
from importlib.metadata import version

# httpx would load its own command line, with a terminal library and a highlighter: 4 MB that a server never uses.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]  # None is how an import is made to fail

__version__ = version("tandem")
