"""A configuration for tests, without a file."""

from typing import Any

from saccade.serving.config.settings import Settings

INSTANCES: dict[str, Any] = {
    "encode": {"roles": ["encode"]},
    "llm": {"roles": ["prefill", "decode"], "replicas": 2},
}


def some_settings(**sections: Any) -> Settings:
    """Of a small cluster that serves pictures; `sections` win."""
    defaults: dict[str, Any] = {"model": {"path": "tiny"}, "instances": INSTANCES}
    return Settings(**(defaults | sections))
