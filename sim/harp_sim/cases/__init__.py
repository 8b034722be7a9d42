"""Cases: cocotb tests of the core, each module one theme."""
