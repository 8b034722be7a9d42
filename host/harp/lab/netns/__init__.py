"""The laboratory of network namespaces: real daemons, real packets, faults, measurements."""
