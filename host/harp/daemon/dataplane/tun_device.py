"""A TUN device. Ref: Documentation/networking/tuntap.rst of the kernel"""

from __future__ import annotations

import fcntl
import os
import struct

_SET_INTERFACE = 0x400454CA
"""TUNSETIFF."""
_TUN, _NO_PACKET_INFO = 0x0001, 0x1000
_REQUEST = struct.Struct("16sH22x")


def open_tun(name: str) -> int:
    """Makes the device; it lives as long as a descriptor of it. Raises OSError."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    try:
        request = _REQUEST.pack(name.encode(), _TUN | _NO_PACKET_INFO)
        fcntl.ioctl(descriptor, _SET_INTERFACE, request)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
