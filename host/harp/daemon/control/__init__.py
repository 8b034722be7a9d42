"""The control socket of harpd: what `harpctl` asks, and who answers."""
