"""Some small cases of the fault matrix. `python -m tests.faults` runs all of them, larger and repeatedly."""

from collections.abc import Iterator

import pytest

from tests.faults.cases import CASES
from tests.faults.matrix import Matrix, Options
from tests.postgres import find_postgres

#: Cases with the same database are adjacent, because they share a cluster.
SMALL = (
    ("F1", "sqlite"),
    ("F3", "sqlite"),
    ("F4", "sqlite"),
    ("F9", "sqlite"),
    ("F15", "sqlite"),
    ("F12", "postgresql"),
    ("F13", "postgresql"),
)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    options = Options(repeats=1, items=120, item_ms=100.0, freeze_s=5.0)
    with Matrix(tmp_path_factory.mktemp("faults"), options) as matrix:
        yield matrix


@pytest.mark.parametrize(("id", "database"), SMALL)
def test_a_job_with_faults_has_the_result_of_one_without(matrix: Matrix, id: str, database: str) -> None:
    if database == "postgresql" and find_postgres() is None:
        pytest.skip("PostgreSQL's server programs are not installed")
    (case,) = (case for case in CASES if case.id == id)
    (run,) = matrix.runs(case, database)
    assert run.problems == ()
    assert run.counted["faults"] > 0
