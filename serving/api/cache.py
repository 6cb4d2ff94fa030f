"""`/saccade/cache`: what the caches hold, and emptying the one of visual tokens."""

from typing import Any

from saccade.serving.api.asgi import Receive, Scope, Send, send_json
from saccade.serving.api.edge import Endpoint
from saccade.serving.api.tenants import Tenants
from saccade.serving.caches.keys import cache_salt
from saccade.serving.errors import InternalError
from saccade.serving.gateway.instances import InstanceError
from saccade.serving.gateway.prefix_metrics import PrefixMetrics
from saccade.serving.gateway.visual import VisualTokenSource
from saccade.serving.gateway.visual_metrics import VisualCacheMetrics


def cache_endpoints(
    tenants: Tenants,
    visual: VisualTokenSource,
    metrics: VisualCacheMetrics,
    prefixes: PrefixMetrics,
) -> dict[str, Endpoint]:
    """GET for the numbers, of the whole system; DELETE removes what is the caller's tenant's."""

    async def stats(scope: Scope, _: Receive, send: Send) -> None:
        tenants.tenant_of(scope)
        await send_json(send, 200, {**_stats(metrics), "prefix": prefixes.totals()})

    async def clear(scope: Scope, _: Receive, send: Send) -> None:
        tenant = tenants.tenant_of(scope)
        try:
            num_entries = await visual.clear(cache_salt(tenant))
        except InstanceError as error:
            raise InternalError(
                f"Not all of the cache could be cleared: {error.instance} does not answer."
            ) from error
        await send_json(send, 200, {"removed_entries": num_entries})

    return {"GET": stats, "DELETE": clear}


def _stats(metrics: VisualCacheMetrics) -> dict[str, Any]:
    totals = metrics.totals()
    tiers = [
        {
            "tier": tier,
            "instance": instance,
            "bytes": stats.num_bytes,
            "budget_bytes": stats.budget_bytes,
            "entries": stats.num_entries,
            "evictions": stats.num_evictions,
            "corrupted": stats.num_corrupted,
            "errors": stats.num_errors,
        }
        for instance, tier, stats in metrics.rows()
    ]
    return {**totals, "tiers": tiers}
