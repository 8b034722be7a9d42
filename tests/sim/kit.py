"""What the model's tests share: addresses, a model with a live lease, frames in one line."""

from dataclasses import replace
from ipaddress import IPv6Address

from harp.tables.reasons import Reason
from harp_sim.build import Draft, harp, mobility
from harp_sim.model import golden
from harp_sim.model.config import Config, Peer, Port
from harp_sim.model.model import Judgement, Model

PEER = IPv6Address("2001:db8:1::a").packed
OWN = IPv6Address("2001:db8:1::b").packed
STRANGER = IPv6Address("2001:db8:f::1").packed
HOME = IPv6Address("2001:db8:1::100").packed
GROUP_ADDRESS = IPv6Address("ff02::114").packed
GROUP = 7

BINDING_UPDATE = Draft(HOME, OWN, mobility(5, bytes(6)))
HELLO = Draft(PEER, GROUP_ADDRESS, harp(golden.HARP_HELLO, GROUP, 1))


def peers(*entries: Peer | None) -> tuple[Peer | None, ...]:
    """A whole peer table that begins with these."""
    return (*entries, *(None,) * (golden.PEERS - len(entries)))


FILTERING = Config(filter_enable=True, peers=peers(Peer(PEER, GROUP)))


def running(config: Config = FILTERING) -> Model:
    """A model with a lease that lives to 200 ms."""
    model = Model(config)
    model.kick(0)
    return model


def send(model: Model, draft: Draft, at_us: int, port: Port = Port.NETWORK) -> Judgement:
    """Give the model one frame."""
    return model.frame(port, draft.octets(), at_us, draft.fcs_ok, draft.rx_er)


def reason(draft: Draft, config: Config = FILTERING) -> Reason | None:
    """The reason of one frame in a fresh model."""
    return send(running(config), draft, 1).reason


def hello(
    sequence: int,
    multicast: bool = True,
    flags: int = 0,
    preference: int = 100,
    lifetime: int = 3,
    options: bytes = b"",
) -> Draft:
    """A HELLO of the peer."""
    mh = harp(golden.HARP_HELLO, GROUP, sequence, flags, preference, lifetime, 1000, options)
    return replace(HELLO, payload=mh, destination=GROUP_ADDRESS if multicast else OWN)
