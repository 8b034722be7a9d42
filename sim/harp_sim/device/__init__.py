"""The whole offload in plain Python: the model behind its registers and its serial link.

It stands in for a board wherever the host is to be tried before, or faster than, gateware runs.
"""
