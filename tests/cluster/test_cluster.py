"""Jobs on containers of the images that `make images IMAGES="scheduler worker-cpu" ENGINE=buildah` built."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.cluster.__main__ import SCHEDULER, WORKER, image_matrix
from tests.cluster.cases import CASES
from tests.cluster.cluster import SETUP
from tests.cluster.containers import lacking
from tests.faults.cases import Case
from tests.faults.matrix import Matrix, Options
from tests.postgres import find_postgres

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    if missing := lacking():
        pytest.skip(f"this needs {missing}")
    if find_postgres() is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    for image in (SCHEDULER, WORKER):
        if subprocess.run(["buildah", "inspect", "--type", "image", image], capture_output=True).returncode:
            pytest.skip(f"the image {image} was not built")
    with image_matrix(tmp_path_factory.mktemp("cluster"), Options(repeats=1)) as matrix:
        yield matrix


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_a_job_on_containers_has_the_result_of_one_without_faults(matrix: Matrix, case: Case) -> None:
    (run,) = matrix.runs(case, SETUP.database)
    assert run.problems == ()
    assert run.counted["faults"] > 0
