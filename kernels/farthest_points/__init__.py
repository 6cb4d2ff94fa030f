"""Greedy choice of tokens that are far from each other: max-min diversity."""
