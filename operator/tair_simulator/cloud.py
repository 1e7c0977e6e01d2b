"""The simulated cloud as a whole: its instances, keys, roles, limits, ledger and faults, and the clock they share.

This is the only place that holds state. ``operations`` and ``control`` work on it, ``server`` connects it to the
network.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from ipaddress import IPv4Address

from tair_simulator import drift
from tair_simulator.access_keys import AccessKey
from tair_simulator.directory import Directory, unknown_role
from tair_simulator.faults import FaultQueue
from tair_simulator.gateway import Gate
from tair_simulator.holds import Holds
from tair_simulator.instances import Endpoint, Instance, default_prefix
from tair_simulator.ledger import Ledger
from tair_simulator.metadata_tokens import MetadataTokens
from tair_simulator.mistakes import InputError, patched
from tair_simulator.seed import Seed
from tair_simulator.throttling import Throttle, Throttling
from tair_simulator.transitions import Kind, Record, accept, fail, look

FIRST_ADDRESS = IPv4Address("10.0.0.10")

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time of this machine."""
    return datetime.now(UTC)


class Cloud:
    """What exists right now; ``clock`` returns aware times, and only it moves a change on."""

    def __init__(self, seed: Seed, clock: Clock = utc_now) -> None:
        self._seed = seed
        self.clock = clock
        self.ledger = Ledger()
        self.faults = FaultQueue()
        self.holds = Holds()
        self.era = 0
        self.reset()

    def reset(self) -> None:
        """Go back to the seed, as if just started; ledger, faults, sessions and used nonces are forgotten.

        A call that waits just now belongs to another ``era``: it ends without effect.
        """
        self.era += 1
        self.ledger.clear()
        self.faults.clear()
        self.holds.clear()
        self.keys = dict(self._seed.access_keys)
        self.directory = Directory(self._seed.roles, self._seed.oidc_providers, self._seed.ecs)
        self.metadata_tokens = MetadataTokens()
        self.gate = Gate(self.keys)
        self.throttle = Throttle(self._seed.throttling)
        self._addresses = Addresses(self._seed.instances.values())
        now = self.clock()
        self._records: dict[str, Record] = {}
        for instance_id, instance in self._seed.instances.items():
            self._store(Record(instance_id, instance, since=now))

    def find(self, instance_id: str, region_id: str | None = None) -> Record | None:
        """Return an instance if it exists, and, where a region is given, lives there."""
        record = self._records.get(instance_id)
        return record if record and region_id in {None, record.instance.region_id} else None

    def records(self) -> list[Record]:
        """Return all instances, in the order in which they were created."""
        return list(self._records.values())

    def put(self, instance_id: str, written: object) -> Record:
        """Create an instance, or change the written fields of one; raise ``InputError`` and change nothing."""
        now = self.clock()
        record = self._records.get(instance_id)
        wanted = drift.patch(record, written, now) if record else drift.create(instance_id, written, now)
        self._check_names(wanted)
        return self._store(wanted)

    def delete(self, instance_id: str) -> bool:
        """Remove an instance; return whether there was one."""
        return self._records.pop(instance_id, None) is not None

    def start_release(self, record: Record) -> None:
        """Accept a release of the direct endpoint."""
        self._records[record.instance_id] = accept(record, Kind.RELEASE, None, self.clock())

    def start_allocate(self, record: Record, endpoint: Endpoint) -> None:
        """Accept an allocation; what the endpoint leaves open is chosen here."""
        chosen = self._completed_endpoint(record.instance_id, endpoint)
        self._records[record.instance_id] = accept(record, Kind.ALLOCATE, chosen, self.clock())

    def fail_change(self, instance_id: str) -> None:
        """Let the change under way end with nothing changed."""
        self._records[instance_id] = fail(self._records[instance_id])

    def put_key(self, access_key_id: str, written: object) -> AccessKey:
        """Create an access key, or change the written fields of one; raise ``InputError`` and change nothing."""
        key = patched(AccessKey, self.keys.get(access_key_id), written)
        mistake = unknown_role(key.role, self.directory.roles)
        if mistake:
            raise InputError([f"role: {mistake}"])
        self.keys[access_key_id] = key
        return key

    def put_throttling(self, limits: Throttling) -> None:
        """Replace all limits; every bucket is full again."""
        self.throttle = Throttle(limits)

    def prefix_taken(self, prefix: str, *, but_for: str | None = None) -> bool:
        """Return whether a connection string with this prefix exists, or is about to, ``but_for`` one instance."""
        others = (record for record in self._records.values() if record.instance_id != but_for)
        return any(prefix in self._prefixes(record) for record in others)

    def _prefixes(self, record: Record) -> Iterator[str | None]:
        yield record.instance_id
        view = look(record, self.clock())
        for endpoint in (view.endpoint, view.change and view.change.endpoint):
            if endpoint:
                yield endpoint.prefix

    def _check_names(self, wanted: Record) -> None:
        """Refuse an instance with a host name that another one has: its own, or that of its direct endpoint."""
        if wanted.instance_id not in self._records and self.prefix_taken(wanted.instance_id):
            raise InputError(["instance id in the path: is taken as the prefix of another instance's endpoint"])
        if not wanted.instance.direct_connection:
            return
        endpoint = wanted.instance.endpoint or Endpoint()
        prefix = endpoint.prefix or default_prefix(wanted.instance_id)
        if self.prefix_taken(prefix, but_for=wanted.instance_id):
            raise InputError(["endpoint.prefix: is taken by another instance"])

    def _store(self, record: Record) -> Record:
        instance = self._completed(record.instance_id, record.instance)
        stored = Record(record.instance_id, instance, record.since, record.change)
        self._records[record.instance_id] = stored
        return stored

    def _completed(self, instance_id: str, instance: Instance) -> Instance:
        chosen: dict[str, object] = {
            "name": instance.name or instance_id,
            "zone_id": instance.zone_id or f"{instance.region_id}-h",
            "private_ip": self._addresses.give(instance.private_ip),
        }
        if instance.direct_connection:
            chosen["endpoint"] = self._completed_endpoint(instance_id, instance.endpoint or Endpoint())
        return instance.model_copy(update=chosen)

    def _completed_endpoint(self, instance_id: str, endpoint: Endpoint) -> Endpoint:
        prefix = endpoint.prefix or default_prefix(instance_id)
        return endpoint.model_copy(update={"prefix": prefix, "ip_address": self._addresses.give(endpoint.ip_address)})


class Addresses:
    """Gives addresses that were never given before, so that an endpoint that comes back is a new one."""

    def __init__(self, instances: Iterable[Instance]) -> None:
        self._next = FIRST_ADDRESS
        self._used: set[IPv4Address] = set()
        for instance in instances:
            self._used |= {address for address in _described(instance) if address is not None}

    def give(self, wish: IPv4Address | None) -> IPv4Address:
        """Return the address that somebody described, or a new one."""
        if wish is not None:
            self._used.add(wish)
            return wish
        while self._next in self._used:
            self._next += 1
        self._used.add(self._next)
        return self._next


def _described(instance: Instance) -> tuple[IPv4Address | None, ...]:
    return (instance.private_ip, instance.endpoint.ip_address if instance.endpoint else None)
