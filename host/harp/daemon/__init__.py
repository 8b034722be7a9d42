"""The daemon on a router: sockets, netlink, files and processes around `harp.engine`."""
