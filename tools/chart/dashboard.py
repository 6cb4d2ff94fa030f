"""The Grafana dashboard, as code: dashboards/saccade.json."""

import json
from dataclasses import dataclass
from typing import Any

WIDTH, PANELS_A_ROW, HEIGHT = 24, 3, 8
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
SELECT = 'namespace=~"$namespace"'


@dataclass(frozen=True, slots=True)
class Panel:
    """A time series; queries are (expression, legend)."""

    title: str
    text: str
    unit: str
    queries: tuple[tuple[str, str], ...]


def _rate(metric: str, by: str = "", select: str = "") -> str:
    labels = ", ".join(part for part in (SELECT, select) if part)
    grouped = f"sum by ({by}) " if by else "sum"
    return f"{grouped}(rate({metric}{{{labels}}}[$__rate_interval]))"


def _quantile(share: float, metric: str, by: str) -> str:
    buckets = _rate(f"{metric}_bucket", f"le, {by}" if by else "le")
    return f"histogram_quantile({share}, {buckets})"


ROWS: dict[str, tuple[Panel, ...]] = {
    "Requests": (
        Panel(
            "Requests by status", "499 is a client that has left.", "reqps",
            ((_rate("saccade_requests_total", "status", 'route=~"/v1/.*"'), "{{status}}"),),
        ),
        Panel(
            "Requests by modality", "", "reqps",
            ((_rate("saccade_requests_total", "modality", 'route=~"/v1/.*"'), "{{modality}}"),),
        ),
        Panel(
            "Running and waiting", "Answers being worked on, and requests in the queue.", "short",
            (
                (f"sum(saccade_requests_running{{{SELECT}}})", "running"),
                (f"sum(saccade_requests_queued{{{SELECT}}})", "waiting"),
            ),
        ),
    ),
    "Latency": (
        Panel(
            "Time to first token, median", "Streamed answers.", "s",
            ((_quantile(0.5, "saccade_time_to_first_token_seconds", "modality"), "{{modality}}"),),
        ),
        Panel(
            "Time to first token, p90", "Streamed answers.", "s",
            ((_quantile(0.9, "saccade_time_to_first_token_seconds", "modality"), "{{modality}}"),),
        ),
        Panel(
            "End to end, p90", "From arrival to the end of the response.", "s",
            ((_quantile(0.9, "saccade_e2e_request_latency_seconds", "modality"), "{{modality}}"),),
        ),
    ),
    "Pace": (
        Panel(
            "Time per output token, p90", "Of an answer, behind its first token.", "s",
            (
                (
                    _quantile(0.9, "saccade_request_time_per_output_token_seconds", "modality"),
                    "{{modality}}",
                ),
            ),
        ),
        Panel(
            "Inter-token latency, p99", "Every gap between two tokens.", "s",
            ((_quantile(0.99, "saccade_inter_token_latency_seconds", "modality"), "{{modality}}"),),
        ),
        Panel(
            "Stages, p90", "With the queue on the instance.", "s",
            ((_quantile(0.9, "saccade_stage_seconds", "stage"), "{{stage}}"),),
        ),
    ),
    "Room": (
        Panel(
            "Wait for room, p90", "Before a request is admitted.", "s",
            ((_quantile(0.9, "saccade_request_queue_time_seconds", ""), "wait"),),
        ),
        Panel(
            "Refusals", "For want of room, by reason.", "reqps",
            ((_rate("saccade_admission_refusals_total", "reason"), "{{reason}}"),),
        ),
        Panel(
            "Cost model's error, median", "Of prefills: |expected - measured| / measured.",
            "percentunit",
            ((_quantile(0.5, "saccade_cost_model_error_ratio", "stage"), "{{stage}}"),),
        ),
    ),
    "Instances": (
        Panel(
            "Instances that answer, and their roles", "A role is one that they serve now.", "short",
            (
                (f"sum(saccade_instance_up{{{SELECT}}})", "answer"),
                (f"sum by (role) (saccade_instance_roles{{{SELECT}}})", "{{role}}"),
            ),
        ),
        Panel(
            "Requests at the instances", "Waiting or worked on, by the instances' roles.", "short",
            (
                (f"sum by (role) (saccade_instance_stage_requests{{{SELECT}}})", "{{role}}"),
                (f"sum(saccade_instance_unfinished_requests{{{SELECT}}})", "in the engines"),
            ),
        ),
        Panel(
            "KV caches", "From prefill to decode instances.", "ops",
            (
                (_rate("saccade_kv_transfers_total"), "handed over"),
                (_rate("saccade_kv_released_total"), "given up"),
                (_rate("saccade_kv_retries_total"), "prefilled again"),
            ),
        ),
    ),
    "Tokens": (
        Panel(
            "Tokens", "", "short",
            (
                (_rate("saccade_prompt_tokens_total"), "prompt"),
                (_rate("saccade_generation_tokens_total"), "generated"),
            ),
        ),
        Panel(
            "Visual tokens", "Made or found (in), and given to the LLM (kept).", "short",
            ((_rate("saccade_visual_tokens_total", "stage"), "{{stage}}"),),
        ),
        Panel(
            "Time spared by the visual-token cache", "Seconds of work a second.", "s",
            ((_rate("saccade_visual_cache_saved_seconds_total", "tier"), "{{tier}}"),),
        ),
    ),
    "Visual-token cache": (
        Panel(
            "Pictures", "By where their visual tokens came from.", "ops",
            (
                (_rate("saccade_visual_cache_hits_total", "tier"), "{{tier}}"),
                (_rate("saccade_visual_cache_joins_total"), "joined"),
                (_rate("saccade_visual_cache_misses_total"), "encoded"),
            ),
        ),
        Panel(
            "Bytes, and the budget", "", "bytes",
            (
                (f"sum by (tier) (saccade_visual_cache_bytes{{{SELECT}}})", "{{tier}}"),
                (
                    f"sum by (tier) (saccade_visual_cache_budget_bytes{{{SELECT}}})",
                    "{{tier}} budget",
                ),
            ),
        ),
        Panel(
            "Evictions and faults", "", "ops",
            (
                (_rate("saccade_visual_cache_evictions_total", "tier"), "{{tier}} evicted"),
                (_rate("saccade_visual_cache_corrupted_total", "tier"), "{{tier}} corrupted"),
                (_rate("saccade_visual_cache_errors_total", "tier"), "{{tier}} errors"),
            ),
        ),
    ),
    "Gateways": (
        Panel(
            "Event loop lag, p99", "What every answer of a gateway may have to wait.", "s",
            ((_quantile(0.99, "saccade_event_loop_lag_seconds", "pod"), "{{pod}}"),),
        ),
        Panel(
            "Bytes in flight", "Bodies, pictures and clips of requests without an answer.", "bytes",
            ((f"sum by (pod) (saccade_bytes_in_flight{{{SELECT}}})", "{{pod}}"),),
        ),
    ),
}  # fmt: skip


def dashboard() -> str:
    """The file's text."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        position = {"x": 0, "y": top, "w": WIDTH, "h": 1}
        panels.append({"type": "row", "title": title, "gridPos": position, "panels": []})
        for column, panel in enumerate(row):
            panels.append(_panel(panel, column, top + 1))
        top += 1 + HEIGHT
    for number, one in enumerate(panels, start=1):
        one["id"] = number
    return json.dumps({**_frame(), "panels": panels}, indent=2) + "\n"


def _panel(panel: Panel, column: int, top: int) -> dict[str, Any]:
    width = WIDTH // PANELS_A_ROW
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "gridPos": {"x": column * width, "y": top, "w": width, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + i), "expr": expr, "legendFormat": legend, "datasource": SOURCE}
            for i, (expr, legend) in enumerate(panel.queries)
        ],
    }


def _frame() -> dict[str, Any]:
    namespaces = "label_values(saccade_requests_running, namespace)"
    return {
        "uid": "saccade",
        "title": "Saccade",
        "tags": ["saccade"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                {
                    "name": "namespace",
                    "type": "query",
                    "datasource": SOURCE,
                    "query": {"query": namespaces, "refId": "namespaces"},
                    "includeAll": True,
                    "allValue": ".*",
                    "refresh": 2,
                },
            ]
        },
    }
