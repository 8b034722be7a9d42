"""One setting for every property test: the same examples in every run, on every machine."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "harp",
    derandomize=True,
    database=None,
    deadline=None,  # the machine is noisy; pytest-timeout bounds a hang
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("harp")
