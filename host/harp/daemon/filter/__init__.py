"""The Mobility Header filter in software: nftables, for a router without a board."""
