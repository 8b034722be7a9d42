"""The gateware as a process, between two real interfaces: an unmodified harpd drives it."""
