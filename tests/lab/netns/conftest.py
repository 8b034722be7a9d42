"""Where no namespaces can be made, tests that need them say so."""

import pytest

from harp.lab.netns import privilege


@pytest.fixture(scope="session")
def netns() -> None:
    """Skips without the privilege to make network namespaces."""
    if not privilege.may_make_namespaces():
        pytest.skip("no network namespaces here: run as root, or in a user namespace")
