"""Slots: frames that the hardware sends by itself.

**Patches.** The Sequence # at MH octets 8-9 is the slot's counter, last + 1, 1 after 65535. The
template holds the checksum that is right for Sequence # 0; the frame has HC' = ~(~HC + sequence),
one's complement (RFC 1624, equation 3). A slot may count on another slot's counter, so that a
resign continues its group's HELLOs; the counter is the other's then.

**Times.** A slot that starts, or may run again, is due at once. After that it is due from
period - jitter to period behind the time at which it was due before: counted from there and not
from the sending, so that delays do not add up. The frame on the wire, its gap and slots of lower
index may hold it up: the caller says by how much. The random part is not modelled: what is known of
a due time is a window, which each frame narrows. `missed` is not modelled: it is 0 as long as every
frame is within its times.

**Resign.** When the watchdog fires at t, repetition n (0 to 2) of each resign slot, in index order,
is due from t + 1000 n to t + 1000 n + 1. Nothing periodic is sent from t until the host unfences;
slots that it writes before begin then.

Ref: offload.md §4; harp.md §2.1 (Sequence #) and §4 (jitter)
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from harp_sim.model import golden
from harp_sim.model.config import Slot


@dataclass(frozen=True, slots=True)
class Due:
    """When and what a slot sends next."""

    slot: int
    octets: bytes
    """Without FCS."""
    earliest_us: int
    latest_us: int


def step(sequence: int) -> int:
    """The Sequence # after this one: never 0."""
    return 1 if sequence == 0xFFFF else sequence + 1


def patched(slot: Slot, sequence: int) -> bytes:
    """The slot's frame with this Sequence #."""
    frame, start = bytearray(slot.template), slot.mh_offset
    if slot.patch_sequence:
        frame[start + 8 : start + 10] = sequence.to_bytes(2, "big")
    if slot.patch_checksum:
        total = (~int.from_bytes(frame[start + 4 : start + 6], "big") & 0xFFFF) + sequence
        total = (total & 0xFFFF) + (total >> 16)
        frame[start + 4 : start + 6] = (~total & 0xFFFF).to_bytes(2, "big")
    return bytes(frame)


class Slots:
    """The slots' counters and times."""

    def __init__(self, slots: Sequence[Slot | None], grain_us: int = 1) -> None:
        """`grain_us`: in what time hardware notices that a slot may run."""
        self.sequence = [0] * golden.SLOTS
        """Sequence # that each slot's counter had last; 0: none."""
        self._slots = list(slots)
        self._since: list[tuple[int, int] | None] = [None] * golden.SLOTS
        self._grain_us = grain_us
        self._stopped = False
        self._resigns: deque[Due] = deque()

    def configure(self, slots: Sequence[Slot | None], now_us: int, running: bool) -> None:
        """Take new entries. One that changed starts anew."""
        for index, slot in enumerate(slots):
            if slot != self._slots[index]:
                self._slots[index] = slot
                self._start(index, now_us, running)

    def run(self, now_us: int, running: bool) -> None:
        """The lease begins or ends."""
        for index in range(golden.SLOTS):
            self._start(index, now_us, running)

    def stop(self) -> None:
        """The watchdog fired: nothing periodic until the host unfences."""
        self._stopped = True
        self._since = [None] * golden.SLOTS

    def unfence(self, now_us: int, running: bool) -> None:
        """What the watchdog stopped begins anew while the lease lives."""
        if self._stopped:
            self._stopped = False
            self.run(now_us, running)

    def _start(self, index: int, now_us: int, running: bool) -> None:
        slot = self._slots[index]
        runs = slot is not None and not slot.resign and running and not self._stopped
        self._since[index] = (now_us, now_us + self._grain_us) if runs else None

    @property
    def has_resigns(self) -> bool:
        """Whether the watchdog has something to send."""
        return any(slot is not None and slot.resign for slot in self._slots)

    def resign(self, start_us: int) -> None:
        """One round of resigns is due; they take their Sequence # now, in order."""
        for index, slot in enumerate(self._slots):
            if slot is not None and slot.resign:
                octets = self._next_octets(index, slot)
                self._count(index, slot)
                end = start_us + golden.RESIGN_LATENCY_US
                self._resigns.append(Due(index, octets, start_us, end))

    def due(self) -> list[Due]:
        """What may come next: the resigns in order, then each running slot by index."""
        periodic = [
            Due(index, self._next_octets(index, slot), *since)
            for index, (slot, since) in enumerate(zip(self._slots, self._since, strict=True))
            if slot is not None and since is not None
        ]
        return [*self._resigns, *periodic]

    def sent(self, octets: bytes, at_us: int, delay_us: int = 0) -> Due | None:
        """Take note of a frame without FCS that left; the slot's entry, None if it was not due.

        `delay_us`: the longest time that a frame on the wire may have held it up.
        """
        for due in self._expected():
            on_time = due.earliest_us <= at_us <= due.latest_us + delay_us
            if due.octets == octets and on_time:
                if self._resigns and due is self._resigns[0]:
                    self._resigns.popleft()
                else:
                    self._note(due, at_us, delay_us)
                return due
        return None

    def _expected(self) -> list[Due]:
        """Due frames without the resigns behind the first, which keep their order."""
        due, resigns = self.due(), len(self._resigns)
        return due[:1] + due[resigns:] if resigns else due

    def _note(self, due: Due, at_us: int, delay_us: int) -> None:
        """A periodic slot sent: count, and set the next window from what is known of this one."""
        slot = self._slots[due.slot]
        assert slot is not None, "only a configured slot is due"
        self._count(due.slot, slot)
        earliest, latest = max(due.earliest_us, at_us - delay_us), min(due.latest_us, at_us)
        jitter = slot.period_us * slot.jitter_percent // 100
        self._since[due.slot] = (earliest + slot.period_us - jitter, latest + slot.period_us)

    def _counter(self, index: int, slot: Slot) -> int:
        return index if slot.sequence_slot is None else slot.sequence_slot

    def _next_octets(self, index: int, slot: Slot) -> bytes:
        return patched(slot, step(self.sequence[self._counter(index, slot)]))

    def _count(self, index: int, slot: Slot) -> None:
        """Only what carries a Sequence # moves a counter on."""
        counter = self._counter(index, slot)
        if slot.patch_sequence:
            self.sequence[counter] = step(self.sequence[counter])
