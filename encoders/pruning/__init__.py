"""Fewer visual tokens between encode and prefill.

`cdpruner`, `holitom`, `llavolta` and `baselines` are the methods as functions of tensors; `methods`
makes stages of them, `registry` finds stages by name, and `pipeline` runs them in a row.
"""
