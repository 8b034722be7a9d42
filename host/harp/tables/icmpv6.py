"""ICMPv6 types of home agent address discovery, neighbor discovery and tunnels.

Ref: RFC 4443 §3.2; RFC 4861 §4.3, §4.4; RFC 6275 §6.5, §6.6; RFC 3963 §4.4, §4.5
"""

NEXT_HEADER = 58
"""IPv6 next header of ICMPv6 (RFC 4443 §1)."""
PACKET_TOO_BIG = 2
NEIGHBOR_SOLICITATION = 135
NEIGHBOR_ADVERTISEMENT = 136
DHAAD_REQUEST = 144
DHAAD_REPLY = 145
MOBILE_ROUTER = 0x8000
"""R in the flags: mobile routers wanted (request), supported (reply) (RFC 3963 §4.4)."""
