"""Greedy choice of tokens that are relevant and differ: a conditional determinantal process."""
