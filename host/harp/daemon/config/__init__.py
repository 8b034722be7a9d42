"""Configuration of harpd: TOML in, frozen values out."""
