"""From a workload's description to its sessions."""

from collections.abc import Iterator

from saccade.loadtest.plan import Plan
from saccade.loadtest.workloads.session import Session
from saccade.loadtest.workloads.spec import DatasetSpec, FileSpec, MixtureSpec
from saccade.loadtest.workloads.text import TextSource


def sessions(plan: Plan, text: TextSource) -> Iterator[Session]:
    """In order; endless unless the workload is a file.

    Raises:
        InputFileError: a file cannot be read.
    """
    workload = plan.workload
    if isinstance(workload, MixtureSpec):
        from saccade.loadtest.workloads.mixture import drawn_sessions

        return drawn_sessions(workload, text, plan.seed)
    if isinstance(workload, FileSpec):
        from saccade.loadtest.workloads.jsonl import file_sessions

        return file_sessions(workload)
    if isinstance(workload, DatasetSpec):
        from saccade.loadtest.workloads.dataset import dataset_sessions

        return dataset_sessions(workload, plan.seed)
    from saccade.loadtest.workloads.traces.load import trace_sessions

    return trace_sessions(workload, text, plan.seed)
