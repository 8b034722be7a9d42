"""Independent reference model of the offload, written from offload.md and harp.md alone.

Plain Python: frames with their arrival times and a configuration in; verdicts, counters, events
and what leaves each port out. It knows nothing of the gateware and shares no constant with it but
the names of reasons, actions and outcomes.
"""
