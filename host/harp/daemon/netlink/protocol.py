"""The mark on everything that harpd makes in the kernel."""

PROTOCOL = 114
"""Protocol number of harpd's addresses, rules and routes (rtnetlink(7): above RTPROT_STATIC they
are "administrator-defined"), so that a leftover is known for what it is."""
