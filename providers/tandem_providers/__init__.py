"""Realtime voice providers behind one interface."""
