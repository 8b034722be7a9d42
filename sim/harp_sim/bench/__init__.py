"""The cocotb bench of the core: queues in HDL, drivers, monitors, scoreboard."""
