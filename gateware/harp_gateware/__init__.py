"""The offload in Amaranth: components, core, MAC and link."""
