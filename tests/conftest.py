"""Fixtures for every test.

In a `twisted.trial.unittest.TestCase` take a fixture by an autouse method:

    @pytest.fixture(autouse=True)
    def _take(self, database_dsn):
        self.dsn = database_dsn
"""

import itertools

import pytest

from support.postgres import fresh_database, make_template, reachable_folder, running_postgres


@pytest.fixture
def reachable_tmp_path():
    """Like tmp_path, but PostgreSQL's account can pass it when the tests run as root."""
    with reachable_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def postgres():
    """One running EmbeddedPostgres for each test process."""
    with running_postgres() as running:
        yield running


@pytest.fixture(scope="session")
def database_template(postgres):
    """The name of the migrated database that each fresh one is copied from."""
    return make_template(postgres)


@pytest.fixture(scope="session")
def database_numbers():
    """Makes the names of the fresh databases different."""
    return itertools.count(1)


@pytest.fixture
def database_dsn(postgres, database_template, database_numbers):
    """A fresh database with the current schema: `.runtime` and `.owner` are its DSNs."""
    with fresh_database(postgres, database_template, f"test_{next(database_numbers)}") as dsn:
        yield dsn


@pytest.fixture(scope="session")
def reactor_thread():
    """A private reactor running in a thread: `reactor_thread.run(coroutine_function, *args)`."""
    from support.reactor import ReactorThread

    thread = ReactorThread()
    thread.start()
    yield thread
    thread.stop()
