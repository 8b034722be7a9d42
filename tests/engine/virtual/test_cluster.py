"""The same sweep on one core, on two, and on a Dask cluster: the same result."""

import distributed
import pytest

from harp.lab.virtual.sweep import sweep

SCENARIOS = 25


def test_two_jobs_same_result() -> None:
    assert sweep(SCENARIOS, 3, jobs=2) == sweep(SCENARIOS, 3)


@pytest.mark.filterwarnings("ignore")
def test_dask_same_result() -> None:
    seen: list[int] = []
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        tally = sweep(
            SCENARIOS,
            3,
            dask=cluster.scheduler_address,
            progress=lambda t: seen.append(t.scenarios),
        )
    assert tally == sweep(SCENARIOS, 3)
    assert seen == [20, 25]
