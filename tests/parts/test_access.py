"""Accounts, sessions and the first set-up, on a real database."""

import pytest
from argon2 import PasswordHasher
from twisted.internet.defer import Deferred, gatherResults

from santepacs.access.passwords import AT_ONCE, MAXIMUM_WAITING, Passwords
from santepacs.access.sessions import form_proof, is_form_proof, new_cookie
from santepacs.errors import Conflict, Malformed, NotFound, Unavailable
from support.web import PASSWORD, running_web


@pytest.fixture
def web(reactor_thread, database_dsn, tmp_path):
    with running_web(reactor_thread, database_dsn.runtime, tmp_path) as running:
        yield running


def test_a_user_is_verified_by_name_and_password(web):
    web.user("jane")
    assert web.run(web.accounts.verify, "jane", PASSWORD).name == "jane"
    assert web.run(web.accounts.verify, "JANE", PASSWORD).name == "jane"
    assert web.run(web.accounts.verify, "jane", PASSWORD + " ") is None
    assert web.run(web.accounts.verify, "nobody", PASSWORD) is None


@pytest.mark.parametrize("name", ["", "nobody", "a\0b", "x" * 100_000, "' OR '1'='1"])
def test_w1_w2_strange_names_are_nobody(web, name):
    assert web.run(web.accounts.verify, name, PASSWORD) is None


def test_w2_every_character_of_a_long_password_matters(web):
    long = "ab" * 60
    web.run(web.accounts.create, "jane", long)
    assert web.run(web.accounts.verify, "jane", long) is not None
    assert web.run(web.accounts.verify, "jane", long[:64] + "x" + long[65:]) is None
    assert web.run(web.accounts.verify, "jane", long[:64]) is None


def test_w2_a_password_beyond_the_limit_costs_no_hashing(web):
    web.user("jane")

    def never(*args):
        raise AssertionError("hashed")

    web.passwords._verify = never
    assert web.run(web.accounts.verify, "jane", "x" * 1025) is None


def test_c1_hashes_are_argon2id_with_their_own_salts_and_full_strength(web, reactor_thread):
    strong = Passwords(web.threads)
    hashes = [reactor_thread.run(strong.hash, "\0".join("password")) for _ in range(2)]
    assert hashes[0] != hashes[1]
    assert all(text.startswith("$argon2id$v=19$m=65536,t=3,p=4$") for text in hashes)
    assert reactor_thread.run(strong.matches, hashes[0], "\0".join("password"))
    assert not reactor_thread.run(strong.matches, hashes[0], "p")


def test_w13_an_unknown_user_costs_a_verification_too(web):
    seen = []
    verify = web.passwords._verify
    web.passwords._verify = lambda hashed, password: seen.append(hashed) or verify(hashed, password)
    web.run(web.accounts.verify, "nobody", PASSWORD)
    assert PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).check_needs_rehash(
        seen[0]
    ) is (False)


def test_a_flood_of_log_ins_is_bounded(web):
    running = []

    def hold(function, *args):
        running.append(Deferred())
        return running[-1]

    async def flood():
        class Held:
            run = staticmethod(hold)

        passwords = Passwords(Held())
        waiting = [
            Deferred.fromCoroutine(passwords.matches(None, "x"))
            for _ in range(AT_ONCE + MAXIMUM_WAITING)
        ]
        assert len(running) == AT_ONCE
        with pytest.raises(Unavailable):
            await passwords.matches(None, "x")
        while running:
            running.pop().callback(False)
        await gatherResults(waiting)

    web.run(flood)


@pytest.mark.parametrize("name", ["jane", "JANE", "Jané", " jane "])
def test_a_user_name_is_unique_without_regard_to_case_and_accents(web, name):
    web.user("jane")
    with pytest.raises(Conflict):
        web.run(web.accounts.create, name, PASSWORD)


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "x" * 65, "\0", "\u0301"])
def test_a_bad_user_name_is_refused(web, name):
    with pytest.raises(Malformed):
        web.run(web.accounts.create, name, PASSWORD)


def test_users_are_listed_by_name_with_their_rights(web):
    web.user("zoe", may_upload=True)
    web.user("adam", administrator=True)
    users = web.run(web.accounts.list)
    assert [(u.name, u.administrator, u.may_upload, u.active) for u in users] == [
        ("adam", True, False, True),
        ("zoe", False, True, True),
    ]


def test_a_disabled_user_is_not_verified_until_enabled(web):
    web.user("jane")
    web.run(web.accounts.disable, "jane")
    assert web.run(web.accounts.verify, "jane", PASSWORD) is None
    web.run(web.accounts.enable, "jane")
    assert web.run(web.accounts.verify, "jane", PASSWORD) is not None


@pytest.mark.parametrize("what", ["disable", "delete"])
def test_the_last_administrator_stays(web, what):
    web.user("admin", administrator=True)
    web.user("jane")
    with pytest.raises(Conflict):
        web.run(getattr(web.accounts, what), "admin")
    web.run(getattr(web.accounts, what), "jane")
    web.user("other", administrator=True)
    web.run(getattr(web.accounts, what), "admin")


@pytest.mark.parametrize("what", ["disable", "enable", "delete"])
def test_what_is_done_to_nobody_is_not_found(web, what):
    with pytest.raises(NotFound):
        web.run(getattr(web.accounts, what), "nobody")


def test_a_new_password_replaces_the_old(web):
    web.user("jane")
    web.run(web.accounts.set_password, "jane", "another sentence")
    assert web.run(web.accounts.verify, "jane", PASSWORD) is None
    assert web.run(web.accounts.verify, "jane", "another sentence") is not None
    with pytest.raises(Malformed):
        web.run(web.accounts.set_password, "jane", "short")


def test_c2_there_is_no_account_at_first(web):
    assert web.run(web.accounts.list) == []
    assert web.run(web.accounts.has_administrator) is False


def test_c2_the_link_makes_one_administrator_once(web):
    secret = web.run(web.setup.new_link).partition("?")[2]
    assert web.run(web.setup.is_open, secret)
    account = web.run(web.setup.finish, secret, "admin", PASSWORD)
    assert account.administrator
    assert not web.run(web.setup.is_open, secret)
    with pytest.raises(NotFound):
        web.run(web.setup.finish, secret, "second", PASSWORD)
    assert web.run(web.setup.new_link) is None


def test_c2_a_new_link_kills_the_old_one_and_a_day_kills_both(web):
    old = web.run(web.setup.new_link).partition("?")[2]
    new = web.run(web.setup.new_link).partition("?")[2]
    assert not web.run(web.setup.is_open, old)
    assert web.run(web.setup.is_open, new)
    web.clock.ahead = 24 * 3600 + 1
    assert not web.run(web.setup.is_open, new)


def test_c2_a_link_is_dead_once_an_administrator_was_made_otherwise(web):
    secret = web.run(web.setup.new_link).partition("?")[2]
    web.user("admin", administrator=True)
    assert not web.run(web.setup.is_open, secret)
    with pytest.raises(NotFound):
        web.run(web.setup.finish, secret, "other", PASSWORD)


def test_c2_two_who_use_the_link_at_once_make_one_administrator(web):
    secret = web.run(web.setup.new_link).partition("?")[2]

    async def both():
        done = [
            Deferred.fromCoroutine(web.setup.finish(secret, name, PASSWORD)).addErrback(
                lambda failure: failure.trap(NotFound) and None
            )
            for name in ("one", "two")
        ]
        return await gatherResults(done)

    assert len([account for account in web.run(both) if account]) == 1
    assert len(web.run(web.accounts.list)) == 1


def test_the_link_is_not_readable_in_the_database(web):
    secret = web.run(web.setup.new_link).partition("?")[2]
    rows = web.sql("SELECT encode(digest, 'escape') AS text FROM setup_link")
    assert secret not in rows[0].text


def test_a_form_proof_fits_its_cookie_only():
    cookie = new_cookie()
    assert is_form_proof(cookie, form_proof(cookie))
    assert not is_form_proof(new_cookie(), form_proof(cookie))
    assert not is_form_proof("", form_proof(""))
    assert not is_form_proof(cookie, "é")
