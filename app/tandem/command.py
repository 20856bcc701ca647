"""The command `tandem`, installed or as `python3 -m tandem`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """What the installed command runs."""
    # A call's resampling is far too small for several threads, and each would cost memory. Read when numpy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if sys.argv[1:] == ["serve"]:  # runs for years: it need not carry what reads a command line and draws tables
        # FastAPI would load pydantic's former version only to find that nothing is made with it: 1.5 MB.
        sys.modules.setdefault("pydantic.v1", None)  # type: ignore[arg-type]  # None makes an import fail, as it expects
        from tandem.serve import main as serve

        sys.exit(serve())
    from tandem.cli import app

    app(prog_name="tandem")
