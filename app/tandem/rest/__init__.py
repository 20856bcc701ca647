"""The carriers' REST APIs, one file each, behind one narrow port (`port.py`)."""
