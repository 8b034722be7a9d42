"""The process that withdraws when harpd dies or stalls (harp.md §9)."""
