"""A board's whole top in simulation: pins of PHYs, of their management, of the serial link."""
