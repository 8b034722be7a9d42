"""The offload seen from the host: serial link, device interface, its implementations."""
