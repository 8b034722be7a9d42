"""Files for systemd, part of the distribution: unit, user, and a command that prints them."""
