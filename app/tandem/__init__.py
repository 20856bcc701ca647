"""Tandem: a telephony bridge between carriers' media streams and realtime voice models."""

from importlib.metadata import version

__version__ = version("tandem")
