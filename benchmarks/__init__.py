"""Measurements whose results are shown in docs/results; `make` lists the commands."""
