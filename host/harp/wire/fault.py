"""The one exception inside the codec; it never leaves `Codec.parse`."""

from harp.tables.reasons import Reason


class Fault(Exception):
    """What is wrong with the octets being parsed."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
