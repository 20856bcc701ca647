"""Telephone audio: formats, G.711, streaming resampling, framing, conversion. Pure: no clock, no socket, no task."""
