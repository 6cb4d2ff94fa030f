"""EPDServe: stages on instances of their own, roles switched by the length of the queues.

Every five seconds the stage with the longest queue gets one instance, unless all queues are at
least half as long; it comes from the stage that has the most instances to spare and a shorter
queue. No modality groups. (The rule of the published code's ResourceAllocator.)
"""

from saccade.scheduler.cluster import ROLES, Role
from saccade.scheduler.simulator.instance import Instance
from saccade.scheduler.simulator.policies.base import ALL, Policy, RoleMove
from saccade.scheduler.simulator.policies.layouts import Layout, layout_of, of
from saccade.scheduler.simulator.policies.static_split import DISAGGREGATED

# Work of a mean ServeGen request by stage on an A100, per cent.
_START = ((ALL, of("encode"), 23.0), (ALL, of("prefill"), 56.0), (ALL, of("decode"), 21.0))


class EpdServe(Policy):
    name = "epdserve"
    title = "EPDServe: role switches by queue length"
    traits = DISAGGREGATED
    tick_s = 5.0

    def layout(self, num_instances: int) -> Layout:
        return layout_of(num_instances, _START)

    def tick(self, now_s: float) -> list[RoleMove]:
        queues = {role: self._queue(role) for role in ROLES}
        longest = max(ROLES, key=lambda role: queues[role])
        if queues[longest] == 0 or min(queues.values()) >= queues[longest] / 2:
            return []
        donors = [role for role in ROLES if queues[role] < queues[longest]]
        spare = {role: self._instances(role) for role in donors}
        donor = max(donors, key=lambda role: len(spare[role]))
        if len(spare[donor]) < 2:
            return []
        victim = min(spare[donor], key=lambda one: (_busy(one, donor), one.index))
        return [RoleMove(victim, ALL, of(longest))]

    def _instances(self, role: Role) -> list[Instance]:
        return [one for one in self.instances if one.serves(role)]

    def _queue(self, role: Role) -> int:
        if role == "decode":
            return sum(len(one.kv_waiting) for one in self.instances)
        queues = (
            one.encode_queue if role == "encode" else one.prefill_queue for one in self.instances
        )
        return sum(map(len, queues))


def _busy(instance: Instance, role: Role) -> int:
    if role == "decode":
        return instance.num_decoding
    return len(instance.encode_queue if role == "encode" else instance.prefill_queue)
