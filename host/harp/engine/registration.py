"""Judges a Binding Update: which status, or which changes of the binding cache.

Ref: RFC 6275 §9.5.1 (validation), §10.3.1 (registration), §10.3.2 (de-registration), §6.1.7
     (care-of address); RFC 3963 §6.2 (mobile routers); RFC 5648 §6.2 (Binding Identifiers)

Decides only: nothing is changed here. Authentication is judged before (`mnauth`).
"""

from __future__ import annotations

from collections.abc import Iterable

from harp.engine import multihoming, nemo
from harp.engine.addresses import is_unicast, is_unicast_routable
from harp.engine.config import GroupConfig
from harp.engine.entries import NO_BID, Change
from harp.engine.request import Detect, Discard, Grant, Refuse, Request, Verdict
from harp.engine.store import BindingStore
from harp.engine.table import Update
from harp.tables.constants import US_PER_S
from harp.tables.mh import BaStatus, BuFlag
from harp.tables.reasons import Reason
from harp.wire.maker import maker
from harp.wire.messages import BindingCache, BindingIdentifier, Options
from harp.wire.sequence import newer16

_make_cache = maker(BindingCache)
MAX_DELETE_BCE_TIMEOUT_US = 10 * US_PER_S
"""How long a de-registered binding still refuses old Binding Updates (RFC 6275 §10.3.2, §12)."""
MAX_KEPT_OCTETS = 960
"""Longest Mobility Header whose options are kept with the binding: an SS-REP with the binding must
fit the least MTU (RFC 8200 §5)."""
MAX_CARE_OF_CHAIN = 4
"""Care-of addresses that are home addresses of further mobile nodes, one behind the other."""


# As int: arithmetic with flag members costs ten times as much.
_HOME_REGISTRATION = BuFlag.HOME_REGISTRATION.value
_MOBILE_ROUTER = BuFlag.MOBILE_ROUTER.value
_OVERWRITE = BuFlag.OVERWRITE.value
_PLAIN: tuple[tuple[int, ...], ...] = ((), (NO_BID,))
"""BIDs of a home address without multihoming: none, or the one binding."""


def check_form(request: Request) -> Discard | None:
    """What must be dropped in silence before anything else is looked at.

    RFC 6275 §9.5.1: "Packets carrying Binding Updates that fail to satisfy all of these tests ...
    MUST be silently discarded."
    """
    if not is_unicast(request.source) or not is_unicast(request.destination):
        # RFC 6275 §9.5.4: source not unicast: "MUST NOT be sent and the Binding Update packet
        # MUST be silently discarded".
        return Discard(Reason.UNEXPECTED, "source or destination is not a unicast address")
    if not is_unicast_routable(request.home_address):
        # RFC 6275 §9.5.1: "The packet MUST contain a unicast routable home address".
        return Discard(Reason.UNEXPECTED, "home address is not unicast routable")
    if request.has_nonces and request.message.flags & _HOME_REGISTRATION:
        # RFC 6275 §9.5.1: with H "the Nonce Indices mobility option MUST NOT be present".
        return Discard(Reason.BAD_OPTION, "Nonce Indices in a home registration")
    if not is_unicast_routable(request.care_of_address):
        # RFC 6275 §6.1.7: "Binding Updates for a care-of address that is not a unicast routable
        # address MUST be silently discarded."
        return Discard(Reason.UNEXPECTED, "care-of address is not unicast routable")
    if not request.deletes and not request.has_home_address_option:
        # RFC 6275 §10.3.1: "A Home Address destination option MUST be present in the message."
        return Discard(Reason.BAD_OPTION, "registration without Home Address option")
    return None


class Registrar:
    """The rules of one group's home agent over its binding store."""

    def __init__(self, config: GroupConfig, store: BindingStore) -> None:
        self._config = config
        self._home_agent = config.home_agent
        self._store = store
        self.reconfigured()
        members = (address for member in config.members for address in member.addresses)
        self.own = {*members, config.virtual_address}
        """Addresses of the home agents: no mobile node may have one."""
        self._home_prefixes = tuple(
            (128 - prefix.length, int.from_bytes(prefix.address) >> (128 - prefix.length))
            for prefix in config.home_prefixes
        )
        """Bits behind each home prefix, and the bits of the prefix itself."""

    def reconfigured(self) -> None:
        """Other prefixes of mobile routers."""
        self._routers = dict(self._home_agent.mobile_prefixes)

    def judge(self, request: Request, now: int, *, unique: bool) -> Verdict:
        """What becomes of a Binding Update that is authentic and whose form is right.

        `unique`: duplicate address detection of its home address is not needed or has passed.
        """
        bids = self._store.bids(request.home_address)
        refusal = self._validate(request, bids, now) or self._check_home(request)
        if refusal:
            return refusal
        if request.bids:
            whole = multihoming.check_whole(request, self._store, self._home_agent)
            if whole:
                return whole
        if request.deletes:
            return self._delete(request, bids)
        return self._register(request, bids, unique=unique)

    # RFC 6275 §9.5.1

    def _validate(
        self, request: Request, bids: tuple[int, ...], now: int
    ) -> Discard | Refuse | None:
        message = request.message
        if request.replay_protection is None:
            # RFC 4285 §7: "The sequence number field ... is not used if this mechanism is used."
            last = self._newest_sequence(request, bids, now)
            if last is not None and not newer16(message.sequence, last):
                # RFC 6275 §9.5.1: "MUST send back a Binding Acknowledgement with status code 135,
                # and the last accepted sequence number".
                return Refuse(BaStatus.SEQUENCE_OUT_OF_WINDOW, sequence=last)
        if message.flags & _HOME_REGISTRATION:
            return None
        if message.flags & _MOBILE_ROUTER:
            # RFC 3963 §6.2: "The Home Registration (H) Flag MUST be set. If it is not, the Home
            # Agent MUST reject ... with status set to 140."
            return Refuse(BaStatus.MOBILE_ROUTER_NOT_PERMITTED)
        if bids:
            # RFC 6275 §9.5.1: "registration type change disallowed".
            return Refuse(BaStatus.REGISTRATION_TYPE_CHANGE)
        return Discard(Reason.UNEXPECTED, "no home registration: no correspondent node here")

    def _newest_sequence(self, request: Request, bids: tuple[int, ...], now: int) -> int | None:
        """Last Sequence Number accepted for what the Binding Update is about; None: any will do.

        With Binding Identifiers each BID counts by itself: a mobile node's Binding Update List has
        an entry for each (RFC 5648 §4.1), and their paths reorder.
        """
        mine: Iterable[int] = (NO_BID,)
        if request.bids or bids not in _PLAIN:
            mine = {NO_BID, *(tuple(option.bid for option in request.bids) or bids)}
        newest: int | None = None
        for bid in mine:
            last = self._store.last_update(request.home_address, bid)
            if last and (last.live or _was_deregistered_lately(last, now)):
                if newest is None or newer16(last.sequence, newest):
                    newest = last.sequence
        return newest

    # RFC 6275 §10.3.1: the tests before anything is done

    def _check_home(self, request: Request) -> Refuse | None:
        home = request.home_address
        number = int.from_bytes(home)
        for shift, bits in self._home_prefixes:
            if number >> shift == bits:
                break
        else:
            # RFC 6275 §10.3.1: "not an on-link IPv6 address with respect to the home agent's
            # current Prefix List ... MUST reject the Binding Update".
            return Refuse(BaStatus.NOT_HOME_SUBNET)
        if home in self.own:
            return Refuse(BaStatus.PROHIBITED)
        if request.kept and len(request.raw) > MAX_KEPT_OCTETS:
            return Refuse(BaStatus.INSUFFICIENT_RESOURCES)
        return None

    # RFC 6275 §10.3.2

    def _delete(self, request: Request, bids: tuple[int, ...]) -> Refuse | Grant:
        if not request.bids:
            if not bids:
                # RFC 6275 §10.3.2: "no entry marked as a home registration ... MUST reject ...
                # Status field is set to 133 (not home agent for this mobile node)".
                return Refuse(BaStatus.NOT_HOME_AGENT)
            # RFC 5648 §6.2: without BID "the receiver MUST delete all existing bindings": so a
            # change without BID means (harp.md §6).
            return Grant((self._deletion(request, request.care_of_address, ()),), 0)
        good, answers = multihoming.check_each(request, self._store)
        changes = tuple(
            self._deletion(request, care_of, (BindingIdentifier(bid),))
            for bid, care_of in good.items()
        )
        return _answer_each(changes, 0, answers)

    def _deletion(self, request: Request, care_of: bytes, options: Options) -> Change:
        message = request.message
        cache = BindingCache(request.home_address, care_of, message.flags, message.sequence, 0)
        return cache, options

    # RFC 6275 §10.3.1

    def _register(
        self, request: Request, bids: tuple[int, ...], *, unique: bool
    ) -> Refuse | Detect | Grant:
        refusal = self._check_router_flag(request, bids)
        if refusal:
            return refusal
        prefixes = nemo.prefixes(request, self._routers)
        if isinstance(prefixes, Refuse):
            return prefixes
        care_ofs, answers = {NO_BID: request.care_of_address}, request.bids
        if request.bids:
            care_ofs, answers = multihoming.check_each(request, self._store)
        for care_of in care_ofs.values():
            if self._leads_back(request.home_address, care_of):
                return Refuse(BaStatus.INVALID_CARE_OF_ADDRESS)
        new = len(care_ofs.keys() - bids)
        if new and len(self._store) + new > self._home_agent.max_bindings:
            return Refuse(BaStatus.INSUFFICIENT_RESOURCES)
        if not (unique or bids) and care_ofs:
            # RFC 6275 §10.3.1: "Unless this home agent already has a binding for the given home
            # address, the home agent MUST perform Duplicate Address Detection".
            return Detect()
        # RFC 6275 §10.3.1: the lifetime "MUST NOT be greater than the Lifetime value specified in
        # the Binding Update"; local policy may decrease it.
        lifetime_s = min(request.message.lifetime_s, self._home_agent.max_lifetime_s)
        changes = self._replaced(request, bids)
        options, first = prefixes + request.kept, True
        for bid, care_of in care_ofs.items():
            changes.append(self._registration(request, bid, care_of, options, lifetime_s, first))
            first = False
        return _answer_each(tuple(changes), lifetime_s, answers, is_first=not bids)

    def _check_router_flag(self, request: Request, bids: tuple[int, ...]) -> Refuse | None:
        known = self._store.last_update(request.home_address, bids[0]) if bids else None
        if known and (known.flags ^ request.message.flags) & _MOBILE_ROUTER:
            # RFC 3963 §6.2: R "set to a value different from that in the existing binding cache
            # entry ... MUST reject ... 139 (Registration type change disallowed)".
            return Refuse(BaStatus.REGISTRATION_TYPE_CHANGE)
        return None

    def _leads_back(self, home: bytes, care_of: bytes) -> bool:
        """Whether packets for `home` would come back here from its care-of address for ever."""
        if care_of == home or care_of in self.own:
            return True
        for _ in range(MAX_CARE_OF_CHAIN):
            behind = self._store.care_of(care_of)
            if behind is None:
                return False
            if behind == home:
                return True
            care_of = behind
        return True

    def _replaced(self, request: Request, bids: tuple[int, ...]) -> list[Change]:
        """RFC 5648 §6.2: a Binding Update without BID "MUST replace all the existing bindings"."""
        if request.bids or bids in _PLAIN:
            return []
        return [
            self._deletion(request, request.care_of_address, (BindingIdentifier(bid),))
            for bid in bids
            if bid != NO_BID
        ]

    def _registration(
        self,
        request: Request,
        bid: int,
        care_of: bytes,
        options: Options,
        lifetime_s: int,
        first: bool,
    ) -> Change:
        """One binding for the log. Of a bulk registration only the first keeps the O flag: it
        clears the others away, and where the log cuts a message must not matter."""
        flags = request.message.flags if first else request.message.flags & ~_OVERWRITE
        cache = _make_cache(
            request.home_address, care_of, flags, request.message.sequence, lifetime_s
        )
        return cache, ((BindingIdentifier(bid), *options) if bid else options)


def _was_deregistered_lately(last: Update, now: int) -> bool:
    """RFC 6275 §10.3.2: a delayed Binding Update must not undo a de-registration: "wait for
    MAX_DELETE_BCE_TIMEOUT ... before removing the Binding Cache entry completely".

    The tombstone of a binding that only expired has no flags: any number will do again.
    """
    return last.flags != 0 and now < last.buried_us + MAX_DELETE_BCE_TIMEOUT_US


def _answer_each(
    changes: tuple[Change, ...],
    lifetime_s: int,
    answers: tuple[BindingIdentifier, ...],
    *,
    is_first: bool = False,
) -> Refuse | Grant:
    """RFC 5648 §6.2: "If the status value is specific to one of the bindings in the bulk
    registration, the status value MUST be stored in the Status field in the corresponding Binding
    Identifier", and the Acknowledgement's "MUST be set to [MCOA NOTCOMPLETE]"."""
    wrong = {option.status for option in answers if option.status} if answers else None
    if not wrong:
        return Grant(changes, lifetime_s, is_first, bids=answers)
    if changes:
        return Grant(changes, lifetime_s, is_first, BaStatus.MCOA_NOT_COMPLETE, answers)
    # Nothing was done: a Status below 128 would say otherwise (RFC 6275 §9.5.4).
    same = wrong.pop() if len(wrong) == 1 else BaStatus.UNSPECIFIED
    if same == BaStatus.UNSPECIFIED:
        return Refuse(BaStatus.UNSPECIFIED, bids=answers)
    return Refuse(BaStatus(same), bids=tuple(BindingIdentifier(o.bid) for o in answers))
