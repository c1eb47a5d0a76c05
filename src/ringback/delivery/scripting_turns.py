"""Whose script runs next? Tenants take turns, and within a tenant its scripts do, so that nobody's queue is in front of somebody else's.

A script is quick when it has shown to be: what is not known yet, took long or had to be stopped waits apart from those. So do all scripts
of a tenant for a while, when one that was thought quick was not: a thousand that turn at the same time would else hold up everybody.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Final, Literal

import msgspec

from ringback import ids

# CPU of a call, microseconds, beyond which its script is no quick one: a thousand times what most take.
_SLOW_US: Final = 50_000
# Calls in a row that must be quick before a script is: of one that is not known, and of one that was slow.
_UNKNOWN: Final = 1
_OFFENDER: Final = 16
# CPU of a call of a quick script, microseconds, beyond which its tenant owes as many quick ones.
_LONG_US: Final = 200_000
# Calls of a tenant that may wait for a worker among the slow ones: what they hold until then is nobody else's.
_CROWD: Final = 256
# Scripts that are remembered, some 200 bytes each; one that was forgotten is an unknown one.
_REMEMBERED: Final = 10_000
_SEED_BYTES: Final = 8
_MS_US: Final = 1_000


class Script(msgspec.Struct, frozen=True, cache_hash=True):
    """JavaScript that defines a function `handler`.

    `key` names whose it is (an endpoint, a sink), `tenant` with whom it shares its turns (an application, a stream). A context belongs to
    one `Script`: what is not equal never meets. `apart` is the member of what the handler returns that is not read here; where it is not
    `payload`, the handler gets a batch of events, with what their payloads say where these are JSON; `nothing`: it is only looked for.
    """

    key: str
    tenant: str
    code: str
    apart: Literal["payload", "data", "spans", "nothing"] = "payload"


class Moment(msgspec.Struct, frozen=True):
    """A time, milliseconds since 1970, and a seed of 64 bits for chance: a call that is made again at its moment gives the same again."""

    at_ms: int
    seed: int


def moment_of(batch_id: str) -> Moment:
    """The moment of a batch: when its id was made, and chance that follows from it."""
    seed = int.from_bytes(hashlib.sha256(batch_id.encode()).digest()[:_SEED_BYTES])
    return Moment(ids.created_us(batch_id) // _MS_US, seed)


class Call:
    """One call of a script that waits or runs. `once`: the script is not called again. `document` and what comes back are JSON.

    `moment`: it is the only call that its context ever has, with this time and this chance.
    """

    __slots__ = ("document", "done", "listening", "moment", "once", "script", "slow")

    def __init__(
        self,
        script: Script,
        document: bytes,
        done: Callable[[Ran], None],
        *,
        once: bool = False,
        listening: bool = False,
        moment: Moment | None = None,
    ) -> None:
        self.script = script
        self.document = document
        self.done = done
        self.once = once
        self.listening = listening
        self.moment = moment
        # Was it sent as one of the slow ones?
        self.slow = False


# Its payload is missing, came back unchanged (and is not given back), is JSON, or is a text (UTF-8).
PayloadKind = Literal["none", "same", "json", "text"]


class Ran(msgspec.Struct, frozen=True, gc=False):
    """What came of a call.

    `outcome` is one of `telemetry.prometheus.SCRIPT_OUTCOMES`. With `returned`, `document` is the JSON text of what the handler returned,
    without the member that stands apart as `payload`, so that a large one needs not be read here. Else `words` is a sentence, or the
    message of what was thrown at `line` and `column` (from 1 on; 0 = not known). `said` are the lines that were written to the console,
    when somebody listened.
    """

    outcome: str
    document: bytes = b""
    payload: bytes = b""
    payload_kind: PayloadKind = "none"
    words: str = ""
    line: int = 0
    column: int = 0
    cpu_us: int = 0
    said: tuple[str, ...] = ()


class Ring:
    """Calls that wait, in fair turns."""

    def __init__(self) -> None:
        self._tenants: OrderedDict[str, OrderedDict[str, deque[Call]]] = OrderedDict()
        self.size = 0

    def add(self, call: Call) -> None:
        """One more that waits, behind those of its script."""
        scripts = self._tenants.setdefault(call.script.tenant, OrderedDict())
        scripts.setdefault(call.script.key, deque()).append(call)
        self.size += 1

    def next(self) -> Call:
        """The one whose turn it is. There must be one."""
        tenant, scripts = self._tenants.popitem(last=False)
        key, calls = scripts.popitem(last=False)
        call = calls.popleft()
        if calls:
            scripts[key] = calls
        if scripts:
            self._tenants[tenant] = scripts
        self.size -= 1
        return call

    def of(self, tenant: str) -> int:
        """How many calls of a tenant wait."""
        return sum(map(len, self._tenants.get(tenant, {}).values()))

    def take(self, script: Script) -> list[Call]:
        """Take out all calls of a script's owner."""
        scripts = self._tenants.get(script.tenant)
        calls = None if scripts is None else scripts.pop(script.key, None)
        if scripts is not None and not scripts:
            del self._tenants[script.tenant]
        self.size -= len(calls or ())
        return list(calls or ())

    def take_tenant(self, tenant: str) -> list[Call]:
        """Take out all calls of a tenant."""
        calls = [call for waiting in self._tenants.pop(tenant, {}).values() for call in waiting]
        self.size -= len(calls)
        return calls

    def clear(self) -> list[Call]:
        """Take out all."""
        calls = [call for scripts in self._tenants.values() for waiting in scripts.values() for call in waiting]
        self._tenants.clear()
        self.size = 0
        return calls


class Turns:
    """Two rings: of scripts that are known to be quick, and of all others."""

    def __init__(self) -> None:
        self.quick = Ring()
        self.slow = Ring()
        # How many quick calls each script still owes, and each tenant.
        self._owed: dict[str, int] = {}
        self._tenants_owe: dict[str, int] = {}

    @property
    def waiting(self) -> int:
        """Calls that wait for a worker."""
        return self.quick.size + self.slow.size

    def add(self, call: Call) -> None:
        """A call that waits."""
        # Of what is tried nothing is known, whatever was tried before.
        (self.slow if call.once or self._slow(call.script) else self.quick).add(call)

    def crowded(self, script: Script) -> bool:
        """Do so many calls of its tenant wait that this one had better not be made yet?"""
        return self.slow.size >= _CROWD and self._slow(script) and self.slow.of(script.tenant) >= _CROWD

    def _slow(self, script: Script) -> bool:
        return script.tenant in self._tenants_owe or self._owed.get(script.key, _UNKNOWN) > 0

    def ran(self, call: Call, cpu_us: int, *, stopped: bool) -> bool:
        """A call has ended: that may change among whom others wait. Was it a long one of a script that was thought quick?"""
        script = call.script
        if call.once:
            return False
        owed = self._owed.pop(script.key, _UNKNOWN)
        now = _OFFENDER if stopped or cpu_us > _SLOW_US else max(owed - 1, 0)
        if len(self._owed) >= _REMEMBERED:
            del self._owed[next(iter(self._owed))]
        self._owed[script.key] = now
        long = stopped or cpu_us > _LONG_US
        turned = long and not owed
        before = self._tenants_owe.pop(script.tenant, 0)
        after = _OFFENDER if turned else before if long else max(before - 1, 0)
        if after:
            if len(self._tenants_owe) >= _REMEMBERED:
                del self._tenants_owe[next(iter(self._tenants_owe))]
            self._tenants_owe[script.tenant] = after
        if bool(before) != bool(after):
            for waiting in (*self.quick.take_tenant(script.tenant), *self.slow.take_tenant(script.tenant)):
                self.add(waiting)
        elif bool(owed) != bool(now):
            for waiting in (*self.quick.take(script), *self.slow.take(script)):
                self.add(waiting)
        return turned
