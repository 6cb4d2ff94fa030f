"""A discrete-event simulator around the scheduler's own code.

`events` is the core; `instance`, `decode` and `stepper` are a GPU; `pipeline` and `changes` move
requests and roles; `policies` decide; `workloads` arrive; `metrics` count; `output` shows.
"""
