"""vLLM's NIXL connector with three things changed.

1. *Expired reads are declined.* vLLM holds a finished prefill for `kv_lease_duration` seconds. A
   read after that returns whatever the blocks hold by then, as wrong tokens with a normal finish
   reason. Here the prefilling side stamps the end of the lease on the hand-over, and the reading
   side refuses a read that could start or end after it; `kv_load_failure_policy="fail"` then ends
   the request with an error and the gateway prefills again.
2. *Heartbeats extend what the reader believes* only when they are sent while the lease is still
   valid; the prefilling side ignores later ones.
3. *No progress thread on a CPU*, where UCX spins on it and burns a core of an idle instance.
"""

import time
from typing import TYPE_CHECKING, Any

from vllm.distributed.kv_transfer.kv_connector.v1.base import KVConnectorRole
from vllm.distributed.kv_transfer.kv_connector.v1.nixl import (
    NixlPullConnector,
    NixlPullConnectorScheduler,
    NixlPullConnectorWorker,
    base_worker,
)
from vllm.platforms import current_platform

from saccade.serving.engine.leases import LeaseBook

if TYPE_CHECKING:
    from vllm.config import VllmConfig
    from vllm.distributed.kv_transfer.kv_connector.v1.nixl.metadata import (
        NixlConnectorMetadata,
        ReqMeta,
    )
    from vllm.v1.kv_cache_interface import KVCacheConfig
    from vllm.v1.request import Request


# What a notification and the start of a read may take.
LEASE_MARGIN_S = 0.5


class LeasedNixlConnector(NixlPullConnector):
    """See the module."""

    def __init__(
        self,
        vllm_config: "VllmConfig",
        role: KVConnectorRole,
        kv_cache_config: "KVCacheConfig",
    ) -> None:
        # The base class of the pull connector only; its own __init__ would build a second agent.
        super(NixlPullConnector, self).__init__(vllm_config, role, kv_cache_config)
        if role == KVConnectorRole.SCHEDULER:
            self.connector_scheduler = _LeaseStampingScheduler(
                vllm_config, self.engine_id, kv_cache_config
            )
            self.connector_worker = None
        else:
            self.connector_scheduler = None
            self.connector_worker = _LeaseCheckingWorker(
                vllm_config, self.engine_id, kv_cache_config
            )


class _LeaseStampingScheduler(NixlPullConnectorScheduler):
    """Prefilling side: says in the hand-over when its lease ends."""

    def request_finished(
        self, request: "Request", block_ids: Any
    ) -> tuple[bool, dict[str, Any] | None]:
        delay_free, params = super().request_finished(request, block_ids)
        if params is not None and params.get("do_remote_prefill"):
            # On this process's perf_counter; the reader knows the offset from the handshake.
            params["remote_blocks_expiry_time"] = self._reqs_need_send.get(request.request_id)
        return delay_free, params


class _LeaseCheckingWorker(NixlPullConnectorWorker):
    """Reading side: reads only what is surely still held."""

    def __init__(
        self, vllm_config: "VllmConfig", engine_id: str, kv_cache_config: "KVCacheConfig"
    ) -> None:
        if current_platform.is_cpu():
            with _no_progress_thread():
                super().__init__(vllm_config, engine_id, kv_cache_config)
        else:
            super().__init__(vllm_config, engine_id, kv_cache_config)
        self._leases = LeaseBook(extension_s=self._lease_extension)
        self._send_notif = self.nixl_wrapper.send_notif
        self.nixl_wrapper.send_notif = self._noting_failures
        self._notif_failed = False

    def _read_blocks_for_req(self, req_id: str, meta: "ReqMeta") -> None:
        if self._reads_from_known_engine(meta) and self._expired(meta):
            self.xfer_stats.record_kv_expired_req()
            self._handle_failed_transfer(
                req_id, None, self._recv_failures, record_failed_transfer=False
            )
            return
        super()._read_blocks_for_req(req_id, meta)

    def _pop_done_transfers(self, transfers: dict[str, list[int]]) -> tuple[set[str], set[str]]:
        done, failed = super()._pop_done_transfers(transfers)
        for req_id in done:
            meta = self._recving_metadata.get(req_id)
            if meta is not None and meta.remote is not None and self._expired(meta, margin_s=0.0):
                # The blocks may have been reused while they were read.
                self.xfer_stats.record_kv_expired_req()
                failed.add(req_id)
        return done, failed

    def _send_heartbeats(self, metadata: "NixlConnectorMetadata") -> None:
        # Before the call: the handshake of others may end during it, without a heartbeat for them.
        known = [
            heartbeat.req_ids.copy()
            for engine_id, heartbeat in metadata.heartbeat_by_engine.items()
            if engine_id in self._remote_agents
        ]
        sent_s = time.perf_counter()
        self._notif_failed = False
        super()._send_heartbeats(metadata)
        # vLLM passes over a heartbeat that could not be sent.
        if not self._notif_failed:
            for request_ids in known:
                self._leases.heartbeat(request_ids, sent_s)

    def _noting_failures(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._send_notif(*args, **kwargs)
        except Exception:
            self._notif_failed = True
            raise

    def _reads_from_known_engine(self, meta: "ReqMeta") -> bool:
        """Before the handshake there is no clock offset; the read comes here again after it."""
        remote = meta.remote
        return (
            remote is not None
            and remote.engine_id in self._engine_clock_offset
            and any(len(group) > 0 for group in meta.local_block_ids)
        )

    def _expired(self, meta: "ReqMeta", margin_s: float = LEASE_MARGIN_S) -> bool:
        remote = meta.remote
        assert remote is not None
        if remote.blocks_expiry_time is None:
            return False
        stamped = remote.blocks_expiry_time - self._engine_clock_offset[remote.engine_id]
        return time.perf_counter() + margin_s >= self._leases.end(remote.request_id, stamped)


class _no_progress_thread:  # noqa: N801
    """vLLM has no switch for NIXL's progress thread, so its configuration call is wrapped."""

    def __enter__(self) -> None:
        self._original = original = base_worker.nixl_agent_config

        def without_thread(**kwargs: Any) -> Any:
            return original(enable_prog_thread=False, **kwargs)

        base_worker.nixl_agent_config = without_thread

    def __exit__(self, *_: object) -> None:
        base_worker.nixl_agent_config = self._original
