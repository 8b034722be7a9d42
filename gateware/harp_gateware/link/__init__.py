"""The serial link: octets from and to the host, requests to the register bank, events out."""
