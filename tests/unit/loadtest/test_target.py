"""What a server says of itself."""

from saccade.loadtest.target import read_histograms, stages_between

BEFORE = """
# HELP saccade_stage_seconds Time.
# TYPE saccade_stage_seconds histogram
saccade_stage_seconds_bucket{le="+Inf",stage="encode"} 2.0
saccade_stage_seconds_count{stage="encode"} 2.0
saccade_stage_seconds_sum{stage="encode"} 1.0
# TYPE vllm:request_queue_time_seconds histogram
vllm:request_queue_time_seconds_bucket{le="+Inf"} 1.0
vllm:request_queue_time_seconds_count 1.0
vllm:request_queue_time_seconds_sum 0.5
# TYPE request_size_bytes histogram
request_size_bytes_count 4.0
request_size_bytes_sum 4.0
# TYPE saccade_requests counter
saccade_requests_total 3.0
"""
AFTER = (
    BEFORE.replace('_count{stage="encode"} 2.0', '_count{stage="encode"} 6.0')
    .replace('_sum{stage="encode"} 1.0', '_sum{stage="encode"} 2.0')
    .replace(
        'saccade_stage_seconds_sum{stage="encode"}',
        'saccade_stage_seconds_count{stage="decode"} 3.0\n'
        'saccade_stage_seconds_sum{stage="decode"} 6.0\n'
        'saccade_stage_seconds_sum{stage="encode"}',
    )
)


def test_stage_times_are_means_over_the_run_alone() -> None:
    stages = stages_between(read_histograms(BEFORE), read_histograms(AFTER))
    found = {(s.metric, s.labels.get("stage")): (s.count, s.mean_s) for s in stages}
    assert found == {
        ("saccade_stage_seconds", "encode"): (4, 0.25),
        ("saccade_stage_seconds", "decode"): (3, 2.0),
    }


def test_a_server_without_metrics_or_with_others_has_no_stages() -> None:
    assert read_histograms("") == {}
    assert read_histograms("<html>") == {}
    assert stages_between({}, {}) == ()


def test_a_server_that_was_restarted_in_between_is_not_believed() -> None:
    assert stages_between(read_histograms(AFTER), read_histograms(BEFORE)) == ()
