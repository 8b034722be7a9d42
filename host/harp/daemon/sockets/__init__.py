"""Sockets of the daemon: what arrives, many datagrams a call, and what is sent."""
