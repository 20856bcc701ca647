"""One carrier wire protocol a file; `events.py` is their vocabulary."""
