"""Forwarding for mobile nodes: by the kernel, by a process of harpd, or by another home agent."""
