"""Between the engine and a board: who watches which peer, who sends the HELLOs, who may speak.

Sans-IO: effects of the engine and notices of the device go in; events for the engine come out, and
commands for the device.

**Detection.** When a board is attached and sends our HELLOs, the engine is told that it watches,
link by link (`DetectorAttached`); it answers with `WatchPeer` for each peer, and its own deadlines
rest. Until the board confirms a peer, the bridge keeps a deadline of its own, as long as the
peer's: a board that does not take it over in that time, or refuses it, has lost the link
(`DetectorLost`), and the engine watches it again with restarted deadlines. So a peer is watched
somewhere at every time.

**HELLOs.** `HelloSlotChanged(running, 0)` stops the engine's; its answer is the template with the
last Sequence # used, from which the slot counts on. With each kick the engine hears what the slot
will not pass until the next but one, last + ceil(2 × lease / period) + 4 (offload.md §4): what is
new it says itself, above that, and the slot counts on from there; so no HELLO of the slot that
still says the old is believed. The same when the slot is gone. A standby whose interface is down
has no slot: nobody would reach it. Before the engine stops its slots do
(`rest`): its goodbye is multicast then, and no HELLO follows it.

**Fence.** When the watchdog fired, or the board was lost while armed, the board may be fencing us:
`Fenced(True)`. It is unfenced when no group is active here and no template says A; a board that
comes back and has not fired, or was power-cycled, fences nobody.

Ref: offload.md §3, §4, §6; harp.md §4, §9
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harp.daemon.offload.layout import Lane
from harp.engine.config import DetectionSource
from harp.engine.effects import HelloTemplate, WatchPeer
from harp.engine.events import (
    DetectorAttached,
    DetectorLost,
    Event,
    Fenced,
    HelloSlotChanged,
    PeerReport,
    PeerReported,
    SequenceSeen,
)
from harp.offload.device import (
    Attached,
    Device,
    Lost,
    Notice,
    PeerChanged,
    PeerInstalled,
    PeerKey,
    PeerRejected,
    PeerSpec,
    SequenceMoved,
    SlotKey,
    SlotMoved,
    SlotRejected,
    SlotSpec,
    SlotStarted,
    SlotStopped,
    Unfenced,
    WatchdogFired,
)
from harp.offload.templates import (
    MH_OFFSET,
    goodbye_of,
    hello_frame,
    says_active,
    sequence_of,
)
from harp.tables.constants import US_PER_MS
from harp.tables.offload import MAX_JITTER_PERCENT, MIN_PERIOD_US, TEMPLATE_OCTETS, PeerState

OFFLOAD = DetectionSource.OFFLOAD
LEAST_PATIENCE_US = 200 * US_PER_MS
"""For a board to take a peer over, however short its deadline."""
PATIENCE_EACH_US = 20 * US_PER_MS
"""More for each peer that waits before it."""
MAX_MULTIPLIER = 255
_REPORTS = {
    PeerState.UP: PeerReport.UP,
    PeerState.DOWN: PeerReport.DOWN,
    PeerState.LEFT: PeerReport.LEFT,
}


@dataclass(slots=True)
class _Place:
    """A lane, and what the board does there."""

    lane: Lane
    attached: bool = False
    """The engine's deadlines rest."""
    slot: bool = False
    """The engine's multicast HELLOs rest."""
    started: bool = False
    """The slot has had its frame."""
    up: bool = True
    """Packets of ours may leave there."""
    software: bool = False
    """This board could not watch here."""
    template: HelloTemplate | None = None


class Bridge:
    """One board and the groups whose links run through it."""

    def __init__(
        self,
        lanes: Sequence[Lane],
        device: Device,
        lease_us: int,
        mac_of: Callable[[str], bytes | None],
    ) -> None:
        self.problems: list[str] = []
        """What people should know; whoever runs this tells and clears it."""
        self._device = device
        self._lease_us = lease_us
        self._mac_of = mac_of
        self._places = {(p.group.group, p.link.name): _Place(p) for p in lanes}
        self._links: dict[PeerKey, str] = {
            key: lane.link.name for lane in lanes for key in lane.peers
        }
        self._active: set[int] = set()
        self._present = False
        self._fenced = False
        self._asked = False
        """The board was asked to unfence."""
        self._resting = False
        """The engine is about to stop: no slot is started any more."""
        self._handing: dict[PeerKey, int] = {}
        """Peers that the board has not confirmed: until when it may, µs."""

    @property
    def deadline(self) -> int | None:
        """When to call `expire`, µs."""
        return min(self._handing.values(), default=None)

    @property
    def sends(self) -> bool:
        """A slot has our multicast HELLOs."""
        return any(place.slot for place in self._places.values())

    @property
    def fenced(self) -> bool:
        """The board fences this member, or may."""
        return self._fenced

    # Effects of the engine

    def watch(self, peer: WatchPeer, now: int) -> None:
        """How the board is to watch a peer."""
        place = self._places.get((peer.group, peer.link))
        if place is None or not place.attached or place.lane.mode is None:
            return
        key = PeerKey(peer.group, peer.peer)
        self._links[key] = peer.link
        if not peer.deadline_us:
            self._know(key)
            return
        late_us = peer.late_us if peer.late_us < peer.deadline_us else 0
        interval_us = peer.deadline_us - late_us
        spec = PeerSpec(
            key,
            watched=True,
            mode=place.lane.mode,
            deadline_us=peer.deadline_us,
            late_us=late_us,
            multiplier=min(MAX_MULTIPLIER, max(1, peer.deadline_us // interval_us)),
            sequence=peer.sequence,
        )
        patience_us = max(peer.deadline_us, LEAST_PATIENCE_US)
        self._handing.setdefault(key, now + patience_us + PATIENCE_EACH_US * len(self._handing))
        self._device.put_peer(spec)

    def template(self, template: HelloTemplate) -> list[Event]:
        """What a HELLO slot is to say from now on; and up to where it may count."""
        place = self._places.get((template.group, template.link))
        if place is None:
            return []
        place.template = template
        if not place.slot:
            return []
        self._fill(place)
        return [self._moved(place, sequence_of(template.payload))]

    def active(self, group: int, serving: bool) -> None:
        """The watchdog is armed while this member is active anywhere."""
        (self._active.add if serving else self._active.discard)(group)
        if not self._present:
            return
        for place in self._places.values():
            if place.lane.group.group == group:
                self._resign(place)
        self._device.arm(bool(self._active))
        self._may_unfence()

    def link(self, name: str, up: bool) -> list[Event]:
        """An interface of ours is usable, or no more. A slot would go on to say that we are there,
        though nobody reaches us: it stops, but for an active's, which the watchdog judges
        (`host_link_grace`), and begins again with the link."""
        events: list[Event] = []
        for (group, link), place in self._places.items():
            if link != name or place.up == up:
                continue
            place.up = up
            if up and not place.slot:
                events += self._start_slot(place)
            elif not up and place.slot and group not in self._active:
                self._device.delete_slot(SlotKey(group, link))
        return events

    # Notices of the device

    def notice(self, notice: Notice, now: int) -> list[Event]:
        """What the device said, as events for the engine."""
        match notice:
            case Attached():
                return self._begin(notice)
            case Lost(reason, sequences):
                self.problems.append(f"offload lost: {reason}")
                return self._end(sequences)
            case PeerInstalled(key):
                self._handing.pop(key, None)
            case PeerRejected(key, reason):
                return self._rejected(key, reason)
            case PeerChanged(key, state):
                return self._report(key, state)
            case SequenceMoved(key, multicast, sequence):
                link = self._links.get(key)
                if link is not None:
                    return [SequenceSeen(key.group, key.address, link, multicast, sequence)]
            case SlotStarted(key):
                place = self._places[key.group, key.link]
                return [] if key.resign or place.software else self._attach(place)
            case SlotMoved(key, sequence):
                place = self._places[key.group, key.link]
                return [self._moved(place, sequence)] if place.slot and place.started else []
            case SlotStopped(key, sequence):
                place = self._places[key.group, key.link]
                if key.resign or not place.slot:
                    return []
                back = self._hand_back(place, sequence)
                return [back, *self._start_slot(place)]  # its link may be up again by now
            case SlotRejected(key, reason):
                return self._no_slot(key, reason)
            case WatchdogFired():
                return self._fence()
            case Unfenced():
                return self._unfenced()
            case _:
                pass
        return []

    def expire(self, now: int) -> list[Event]:
        """Peers that the board did not take over in time: software watches their link again."""
        late = [key for key, due in self._handing.items() if due <= now]
        events: list[Event] = []
        for key in late:
            if key in self._handing:
                events += self._software(self._links[key], key.group, "it was too slow")
        return events

    def _begin(self, notice: Attached) -> list[Event]:
        self._present = True
        self._handing.clear()
        events: list[Event] = []
        for place in self._places.values():
            place.software = False
            for key in place.lane.peers:
                self._know(key)
        if notice.fired:
            events += self._fence()
        elif self._fenced:
            events += self._unfenced()
        for (_, link), place in self._places.items():
            if place.lane.slots and place.up and self._mac_of(link) is None:
                self.problems.append(f"link {link} has no Ethernet address: no slot for its HELLO")
            events += self._start_slot(place) or self._attach(place)
        self._device.arm(bool(self._active))
        self._may_unfence()
        return events

    def _attach(self, place: _Place) -> list[Event]:
        """The board watches there from now on; behind the slot, so that we are heard meanwhile."""
        if place.attached or place.lane.mode is None or not self._present:
            return []
        place.attached = True
        return [DetectorAttached(place.lane.group.group, place.lane.link.name, OFFLOAD)]

    def _end(self, sequences: Mapping[SlotKey, int] | None = None) -> list[Event]:
        """The device is gone: everything is the engine's again."""
        self._present = False
        self._asked = False
        self._handing.clear()
        events: list[Event] = []
        for (group, link), place in self._places.items():
            if place.attached:
                place.attached = False
                events.append(DetectorLost(group, link, OFFLOAD, self._lease_us))
            if place.slot:
                last = (sequences or {}).get(SlotKey(group, link), 0)
                events.append(self._hand_back(place, last))
        if self._active:
            events += self._fence()
        return events

    def rest(self) -> None:
        """The slots are to stop: behind each (`SlotStopped`) the engine sends by itself. The
        watchdog stays armed, with its goodbye, until the engine has withdrawn."""
        self._resting = True
        for (group, link), place in self._places.items():
            if place.slot:
                self._device.delete_slot(SlotKey(group, link))

    def take_back(self) -> list[Event]:
        """The HELLOs of slots that the board did not stop in time: above whatever it may send."""
        last = self._device.sequences()
        return [
            self._hand_back(place, last.get(SlotKey(group, link), 0))
            for (group, link), place in self._places.items()
            if place.slot
        ]

    def close(self) -> list[Event]:
        """A clean end: the board is left, nothing is fenced."""
        self._active.clear()
        return self._end()

    # Peers

    def _know(self, key: PeerKey) -> None:
        """Its HARP passes; nobody but the engine watches it."""
        self._handing.pop(key, None)
        self._device.put_peer(PeerSpec(key))

    def _report(self, key: PeerKey, state: PeerState) -> list[Event]:
        """A board whose link was given back to software may say something yet. It would hold for
        ever: the engine takes "down" back when the source that said so says otherwise, or is lost
        once more."""
        report, link = _REPORTS.get(state), self._links.get(key)
        if report is None or link is None or not self._places[key.group, link].attached:
            return []
        return [PeerReported(key.group, key.address, link, OFFLOAD, report)]

    def _rejected(self, key: PeerKey, reason: str) -> list[Event]:
        """A peer that was to be watched: software watches the link. One that was only to be known
        is a stranger: `not_a_peer` passes where there are more than the board has room for."""
        if key not in self._handing:
            return []
        return self._software(self._links[key], key.group, reason)

    def _software(self, link: str, group: int, reason: str) -> list[Event]:
        place = self._places[group, link]
        place.attached, place.software = False, True
        for key in [k for k, name in self._links.items() if (k.group, name) == (group, link)]:
            self._know(key)
        self.problems.append(f"group {group}, link {link}: the board watches no peer: {reason}")
        return [DetectorLost(group, link, OFFLOAD)]

    # Slots

    def _start_slot(self, place: _Place) -> list[Event]:
        """The engine's multicast HELLOs there are the board's from now on, where they may be."""
        group, link = place.lane.group.group, place.lane.link.name
        may = place.lane.slots and place.up and self._present and not self._resting
        if not may or self._mac_of(link) is None:
            return []
        place.slot = True
        return [HelloSlotChanged(group, link, running=True, sequence=0)]

    def _fill(self, place: _Place) -> None:
        """The slot gets what the engine would send."""
        template, group = place.template, place.lane.group
        mac = self._mac_of(place.lane.link.name)
        if template is None or mac is None or self._resting:
            return
        key = SlotKey(template.group, template.link)
        if not place.up:
            self._device.delete_slot(key)
            return
        frame = hello_frame(mac, template.source, template.destination, template.payload)
        self._device.put_slot(
            SlotSpec(
                key,
                frame[:TEMPLATE_OCTETS],
                MH_OFFSET,
                period_us=max(MIN_PERIOD_US, group.hello_interval_us),
                jitter_percent=min(MAX_JITTER_PERCENT, group.jitter_percent),
                sequence=sequence_of(template.payload),
            )
        )
        place.started = True
        self._resign(place)
        self._may_unfence()

    def _resign(self, place: _Place) -> None:
        """The watchdog's goodbye, where and while this member is active."""
        group, link = place.lane.group.group, place.lane.link.name
        key, template = SlotKey(group, link, resign=True), place.template
        mac = self._mac_of(link)
        if not (place.started and template and mac and group in self._active):
            self._device.delete_slot(key)
            return
        payload = goodbye_of(template.payload)
        frame = hello_frame(mac, template.source, template.destination, payload)
        self._device.put_slot(SlotSpec(key, frame, MH_OFFSET))

    def _no_slot(self, key: SlotKey, reason: str) -> list[Event]:
        place = self._places[key.group, key.link]
        what = "goodbye" if key.resign else "HELLO"
        text = f"group {key.group}, link {key.link}: no {what} by the board: {reason}"
        self.problems.append(text)
        if key.resign or not place.slot:
            return []
        self._device.delete_slot(key._replace(resign=True))
        return [self._hand_back(place, 0), *self._attach(place)]

    def _moved(self, place: _Place, last: int) -> HelloSlotChanged:
        """What the slot may have said, and will have by the next kick."""
        group, link = place.lane.group.group, place.lane.link.name
        return HelloSlotChanged(group, link, running=True, sequence=self._above(place, last))

    def _hand_back(self, place: _Place, last: int) -> HelloSlotChanged:
        """The engine sends again, above whatever the slot may have sent since the last kick. 0: it
        never sent, and the engine's own number holds."""
        place.slot = place.started = False
        sequence = last and self._above(place, last)
        group, link = place.lane.group.group, place.lane.link.name
        return HelloSlotChanged(group, link, running=False, sequence=sequence)

    def _above(self, place: _Place, last: int) -> int:
        """offload.md §4: last + ceil(2 × lease / period) + 4."""
        period_us = max(MIN_PERIOD_US, place.lane.group.hello_interval_us)
        sequence = last + -(-2 * self._lease_us // period_us) + 4
        # After 65535 comes 1 (harp.md §2.1).
        return (sequence - 1) % 0xFFFF + 1

    # Fence

    def _fence(self) -> list[Event]:
        self._asked = False
        if self._fenced:
            self._may_unfence()
            return []
        self._fenced = True
        self._may_unfence()
        return [Fenced(True)]

    def _unfenced(self) -> list[Event]:
        if not self._fenced:
            return []
        self._fenced = self._asked = False
        return [Fenced(False)]

    def _may_unfence(self) -> None:
        """offload.md §4: "only when withdrawn and all HELLO slots are rewritten without A". The
        device does it behind the slots that it was given before."""
        if not (self._present and self._fenced) or self._asked or self._active:
            return
        sent = [p.template for p in self._places.values() if p.slot and p.template]
        if any(says_active(template.payload) for template in sent):
            return
        self._asked = True
        self._device.unfence()
