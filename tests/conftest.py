"""Fixtures for every test.

In a `twisted.trial.unittest.TestCase` take a fixture by an autouse method:

    @pytest.fixture(autouse=True)
    def _take(self, database_dsn):
        self.dsn = database_dsn
"""

import pytest

from support.postgres import Databases, reachable_folder, running_postgres


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
def databases(postgres):
    """The databases of this test process; each is emptied after the test that had it."""
    return Databases(postgres)


@pytest.fixture
def database_dsn(databases):
    """An empty database with the current schema: `.runtime` and `.owner` are its DSNs."""
    with databases.one() as dsn:
        yield dsn


@pytest.fixture(scope="session")
def reactor_thread():
    """A private reactor running in a thread: `reactor_thread.run(coroutine_function, *args)`."""
    from support.reactor import ReactorThread

    thread = ReactorThread()
    thread.start()
    yield thread
    thread.stop()
