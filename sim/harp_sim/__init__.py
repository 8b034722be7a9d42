"""Simulation of the offload: reference model, stimuli, coverage and the cocotb bench."""
