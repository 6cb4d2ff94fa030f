"""The self-test's plan."""

import pytest

from saccade.loadtest.schedule import make_schedule
from saccade.loadtest.selftest import plan_of_streams
from saccade.loadtest.workloads.text import text_source


@pytest.mark.parametrize(("rate", "duration_s"), [(200.0, 10.0), (200.0, 3.0), (7.5, 3.0)])
def test_the_self_test_sends_no_fewer_streams_than_its_rate(rate: float, duration_s: float) -> None:
    plan = plan_of_streams("http://127.0.0.1:1", rate, duration_s, 1)
    planned = make_schedule(plan, text_source(None)).planned
    assert len(planned) >= rate * duration_s
    assert plan.schedule_s == duration_s
