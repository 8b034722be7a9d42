"""Each group's journal on disk: written by a thread, compacted by a process, restored at start."""
