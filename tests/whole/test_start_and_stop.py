"""Starting and stopping: one clear line when something is wrong, nothing half open or lost."""

import os
import re
import signal
import socket
import subprocess
import threading
import time

import psycopg2
import pytest

from santepacs.db import roles
from santepacs.db.embedded import EmbeddedPostgres
from support.archive import ct, encoded
from support.clients import Browser, mllp, order
from support.faults_database import running_postgres
from support.postgres import reachable_folder
from support.server import (
    BIN,
    ENDED,
    Server,
    end_leftover_postgres,
    free_ports,
    running_server,
)


@pytest.fixture
def data():
    with reachable_folder() as folder:
        yield folder / "data"
        end_leftover_postgres(folder / "data")


def refused(server):
    """Launch a server that must not start; its only complaint."""
    server.launch()
    assert server.wait() == 1, server.output
    complaints = [line for line in server.lines if line.startswith("santepacs: ")]
    assert len(complaints) == 1, server.output
    assert "Traceback" not in server.output
    return complaints[0]


def test_the_first_start_says_where_everything_is(data):
    with running_server(data, environment={"SANTEPACS_ADMIN_PASSWORD": ""}) as server:
        server.line(rf"http://\S+:{server.web_port}/")
        server.line(rf"SANTEPACS\D+{server.dicom_port}")
        server.line(rf"HL7\D+{server.hl7_port}")
        assert str(data) in server.output
        link = server.line(r"(/setup\?[A-Za-z0-9_-]+)")[1]
        browser = Browser(server.web_port)
        made = browser.submit(
            "/setup", link, username="boss", password="a long password", again="a long password"
        )
        assert made.status in (200, 303), made.text
        assert browser.log_in("boss", "a long password").status == 303
        assert Browser(server.web_port).get(link).status in (403, 404)


def test_no_password_is_ever_default(data):
    with running_server(data, environment={"SANTEPACS_ADMIN_PASSWORD": ""}) as server:
        for password in ("admin", "password", "santepacs", ""):
            assert Browser(server.web_port).log_in("admin", password).status != 303


def test_a_first_password_that_is_guessed_first_is_one_line(data):
    server = Server(data, environment={"SANTEPACS_ADMIN_PASSWORD": "password123"})
    assert "SANTEPACS_ADMIN_PASSWORD" in refused(server)
    assert "password123" not in server.output


def test_the_first_administrator_from_the_environment(data):
    with running_server(data, environment={"SANTEPACS_ADMIN_PASSWORD": "geheim geheim"}) as server:
        assert "/setup?" not in server.output
        assert "geheim" not in server.output
        assert Browser(server.web_port).log_in("admin", "geheim geheim").status == 303


def test_a_port_in_use_is_one_line_and_status_1(data):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Server(data)
        server.settings.append(f"hl7.port={taken.getsockname()[1]}")
        complaint = refused(server)
    assert "HL7" in complaint and str(taken_port(server)) in complaint
    assert not (data / "postgres/cluster/postmaster.pid").exists()


def taken_port(server):
    return server.settings[-1].rpartition("=")[2]


@pytest.mark.parametrize("module", ["dicom", "web"])
def test_every_port_is_tried_before_anything_opens(data, module):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = Server(data)
        server.settings.append(f"{module}.port={port}")
        assert str(port) in refused(server)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("web.port=70000", ["web.port", "0 to 65535"]),
        ("web.prot=1", ["web.prot"]),
        ("dicom.ae_title=TOO LONG FOR AN AE TITLE", ["dicom.ae_title", "16"]),
        ("hl7.token_reply=all", ["hl7.token_reply", "full, pairs"]),
    ],
)
def test_a_bad_setting_is_one_line_and_status_1(data, setting, words):
    complaint = refused(Server(data, [setting]))
    assert all(word in complaint for word in words)
    assert not data.exists()


def test_a_certificate_that_is_not_there_is_one_line_and_leaves_nothing_running(data, tmp_path):
    file = tmp_path / "certificate.pem"
    server = Server(data, [f"dicom.tls_port={free_ports(1)[0]}", f"dicom.tls_certificate={file}"])
    complaint = refused(server)
    assert "dicom.tls_certificate" in complaint and str(file) in complaint


def test_a_bad_file_is_named(data, tmp_path):
    file = tmp_path / "site.toml"
    file.write_text("[web]\nport = 'many'\n")
    ended = subprocess.run(
        [BIN / "twistd", "-n", "--pidfile=", "santepacs", "--config", file, "--data", data],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "site.toml" in ended.stderr and "web.port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_background_start_fails_as_loudly(data):
    ended = subprocess.run(
        [BIN / "twistd", "--pidfile=", "santepacs", "--data", data, "--set", "web.port=x"],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "web.port" in ended.stderr


def test_it_runs_in_the_background_too(data):
    """twistd's own way: what was opened before must survive two forks."""
    server, folder = Server(data), data.parent
    pid_file, log_file = folder / "twistd.pid", folder / "twistd.log"
    files = ["--pidfile", pid_file, "--logfile", log_file]
    started = subprocess.run(
        [BIN / "twistd", *files, "santepacs", *server.arguments()],
        capture_output=True,
        text=True,
        cwd="/",
        timeout=90,
        check=False,
    )
    assert started.returncode == 0, started.stderr
    pid = int(pid_file.read_text())
    try:
        wait_until(server.healthy)
        assert (data / "lock").read_text() == f"server {pid}\n"
        assert b"MSA|AA" in mllp(server.hl7_port, order())
        assert "another santepacs server" in refused(Server(data))
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not pid_file.exists())
    assert "stopped" in log_file.read_text()
    assert not (data / "postgres/cluster/postmaster.pid").exists()


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_second_server_on_the_same_data_is_refused(data):
    with running_server(data) as first:
        complaint = refused(Server(data))
        assert "another santepacs server" in complaint
        assert str(first.process.pid) in complaint
        assert first.healthy()


def test_a_missing_secret_key_stops_the_start(data):
    with running_server(data):
        pass
    key = (data / "secret.key").read_bytes()
    (data / "secret.key").unlink()
    assert "secret.key" in refused(Server(data))
    assert not (data / "secret.key").exists()
    (data / "secret.key").write_text("ab" * 64 + "\n")
    (data / "secret.key").chmod(0o600)
    assert "secret.key" in refused(Server(data))
    (data / "secret.key").write_bytes(key)
    with running_server(data):
        pass


def test_data_of_another_database_does_not_become_an_empty_archive(data):
    with running_server(data):
        pass
    (data / "postgres").rename(data / "elsewhere")
    assert "database.url" in refused(Server(data))
    assert not (data / "postgres").exists()
    (data / "elsewhere").rename(data / "postgres")


@pytest.mark.parametrize("url", ["nonsense", "postgresql://127.0.0.1:1/nobody"])
def test_a_database_that_cannot_be_used_is_one_line(data, url):
    complaint = refused(Server(data, [f"database.url={url}"]))
    assert "database" in complaint


def test_a_newer_schema_is_refused(data):
    with running_server(data):
        pass
    postgres = EmbeddedPostgres(data / "postgres", data / "log/postgres.log")
    postgres.start(60)
    try:
        connection = psycopg2.connect(postgres.dsn(roles.OWNER))
        with connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO schema_step VALUES (999, '999_future.sql', 'x')")
        connection.close()
    finally:
        postgres.stop(30)
    assert "999_future" in refused(Server(data))


def test_stopping_ends_everything(data):
    server = Server(data).start()
    assert mllp(server.hl7_port, order()).count(b"MSA|AA") == 1
    assert server.stop() in ENDED
    assert not (data / "postgres/cluster/postmaster.pid").exists()
    for port in (server.dicom_port, server.hl7_port, server.web_port):
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), 1)


def test_sigterm_in_the_middle_of_the_start_leaves_no_postgresql(data):
    with running_server(data):
        pass
    log = data / "log/postgres.log"
    before = log.stat().st_size
    server = Server(data)
    server.launch()
    while log.stat().st_size == before:
        time.sleep(0.001)
    server.process.terminate()
    assert server.wait() in (*ENDED, 128 + signal.SIGTERM)
    assert not (data / "postgres/cluster/postmaster.pid").exists()
    assert "Traceback" not in server.output


def test_what_was_there_is_there_after_a_restart(data):
    with running_server(data) as server:
        mllp(server.hl7_port, order(accession="A9"))
        folder = data.parent / "images"
        folder.mkdir()
        (folder / "one.dcm").write_bytes(encoded(ct()))
        assert server.command("import", str(folder)).returncode == 0
        token = server.command("token", "1.2.826.0.1.3680043.8.498.1").stdout
    with running_server(data) as server:
        assert server.command("token", "1.2.826.0.1.3680043.8.498.1").stdout == token
        assert Browser(server.web_port).get(f"/token?{token.strip()}").status == 200


def test_sigterm_in_the_middle_of_work_loses_nothing_that_was_acknowledged(data):
    server = Server(data, ["server.stop_grace=5"]).start()
    acknowledged = []

    def send():
        number = 0
        while True:
            number += 1
            try:
                answer = mllp(
                    server.hl7_port,
                    order(control_id=str(number), accession=f"B{number}", patient_id=f"Q{number}"),
                )
            except (OSError, AssertionError):
                return
            if b"MSA|AA" in answer:
                acknowledged.append(f"B{number}")

    sender = threading.Thread(target=send)
    sender.start()
    deadline = time.monotonic() + 30
    while len(acknowledged) < 20 and time.monotonic() < deadline:
        time.sleep(0.01)
    began = time.monotonic()
    assert server.stop() in ENDED, server.output
    assert time.monotonic() - began < 20
    sender.join(30)

    postgres = EmbeddedPostgres(data / "postgres", data / "log/postgres.log")
    postgres.start(60)
    try:
        connection = psycopg2.connect(postgres.runtime_dsn)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT accession_number FROM worklist_record")
            kept = {row[0] for row in cursor.fetchall()}
        connection.close()
    finally:
        postgres.stop(30)
    assert set(acknowledged) <= kept


SESSIONS = (
    "SELECT pid FROM pg_stat_activity"
    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)


def test_a_database_that_does_not_answer_keeps_no_server_from_stopping(data):
    """Notes that are made at the end waited for it, and so did the end, for ever."""
    with running_postgres(data.parent) as postgres:
        server = Server(data, [postgres.setting, "server.stop_grace=1"])
        server.start()
        sessions = [row[0] for row in postgres.index.rows(SESSIONS)]
        for pid in sessions:
            os.kill(pid, signal.SIGSTOP)
        try:
            assert server.stop() in ENDED
        finally:
            for pid in sessions:
                os.kill(pid, signal.SIGCONT)


def test_after_kill_9_the_next_start_takes_over(data):
    server = Server(data).start()
    mllp(server.hl7_port, order(accession="K1"))
    server.kill()
    assert (data / "postgres/cluster/postmaster.pid").exists()
    with running_server(data) as again:
        assert b"MSA|AA" in mllp(again.hl7_port, order(accession="K2"))


def test_ports_of_0_switch_modules_off(data):
    server = Server(data)
    server.settings += ["dicom.port=0", "hl7.port=0"]
    server.start()
    try:
        for port in (server.dicom_port, server.hl7_port):
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", port), 1)
    finally:
        assert server.stop() in ENDED


def test_systemd_hears_when_it_serves(data):
    with reachable_folder() as folder:
        address = folder / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(address))
            systemd.settimeout(60)
            with running_server(data, environment={"NOTIFY_SOCKET": str(address)}):
                assert systemd.recv(1000) == b"READY=1"
            assert systemd.recv(1000) == b"STOPPING=1"


def test_nothing_of_the_data_is_open_to_others(data):
    with running_server(data) as server:
        mllp(server.hl7_port, order())
        for path in [data / "secret.key", *data.iterdir()]:
            mode = path.lstat().st_mode & 0o077
            assert mode == 0 or path.name.startswith("postgresql-"), (path, oct(mode))
        assert re.fullmatch(r"0o(711|700)", oct(data.stat().st_mode & 0o777))
        assert os.stat(data / "postgres").st_mode & 0o077 == 0
