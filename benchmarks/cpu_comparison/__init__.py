"""Saccade and stock vLLM on one machine without a GPU: docs/results/cpu-comparison.md."""
