from __future__ import annotations

import logging
from pathlib import Path

import pytest
from replicas import make_primary
from servers import OPERATE_TOKEN, READ_TOKEN, certificates, server, token_file
from test_http_limits import spoken
from test_http_server import ask

from bootledger.errors import InvalidValue
from bootledger.primary.http.access import Tokens, tls_context

pytestmark = pytest.mark.xdist_group("http_secrets")

_PLACES = [
    (
        "GET /v1/primary HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n",
        "as it should be",
    ),
    (
        "GET /v1/slots HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}\r\n",
        "for more than it may",
    ),
    (
        "GET /v1/primary HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {}x\r\n",
        "with a letter more",
    ),
    (
        "GET /v1/primary HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {}\r\n",
        "of another kind",
    ),
    (
        "GET /v1/primary HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer\0{}\r\n",
        "in a bad header",
    ),
    ("GET /v1/primary HTTP/1.1\r\nHost: 127.0.0.1\r\n{}: Bearer\r\n", "as a header's name"),
    ("GET /v1/primary HTTP/1.1\r\nHost: 127.0.0.1\r\nBad {} header\r\n", "in half a header"),
    ("GET /v1/primary?token={} HTTP/1.1\r\nHost: 127.0.0.1\r\n", "in a query"),
    ("GET /v1/changes?after={} HTTP/1.1\r\nHost: 127.0.0.1\r\n", "in a query that is read"),
    ("GET /{} HTTP/1.1\r\nHost: 127.0.0.1\r\n", "as a path"),
    ("GET http://user:{}@p/v1/primary HTTP/1.1\r\nHost: 127.0.0.1\r\n", "in an absolute path"),
    ("{} /v1/primary HTTP/1.1\r\nHost: 127.0.0.1\r\n", "as a method"),
    ("GET /v1/primary {}\r\nHost: 127.0.0.1\r\n", "as a version"),
    (
        "GET /v1/primary HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + "{}" * 90 + "\r\n",
        "in a header too long",
    ),
    ("GET /" + "{}" * 200 + " HTTP/1.1\r\nHost: 127.0.0.1\r\n", "in a path too long"),
]


def test_a_token_is_in_no_log_answer_or_metric_and_no_process_list(tmp_path: Path) -> None:
    """Sent in every place where somebody may put it by mistake, over real sockets."""
    make_primary(tmp_path / "primary", records=5)
    with server(tmp_path / "primary", "--tokens", token_file(tmp_path)) as started:
        answers = b""
        for text, _ in _PLACES:
            request = text.replace("{}", READ_TOKEN) + "Connection: close\r\n\r\n"
            _, body = spoken(started, request.encode())
            answers += body
        headers = {"Authorization": f"Bearer {OPERATE_TOKEN}"}
        metrics = ask(started.address, "GET", "/metrics", headers=headers).data
        assert b"NotAllowed" in answers
        process = Path(f"/proc/{started.pid}")
        told = [(process / name).read_bytes() for name in ("cmdline", "environ", "comm")]
        log = started.log.read_bytes()
        started.stop()
    assert log.count(b"/v1/primary") > 3, "it does write a log"
    for token in (READ_TOKEN, OPERATE_TOKEN):
        for text in (log, metrics, answers, *told):
            assert token.encode() not in text


def test_a_log_line_cannot_be_forged_and_has_no_whole_token_of_a_base_backup(
    tmp_path: Path,
) -> None:
    """One line for a request, whatever its path holds; who has a token can release with it."""
    make_primary(tmp_path / "primary", records=1)
    with server(tmp_path / "primary") as started:
        whole = "a" * 36 + ".1." + "b" * 32
        for path in ("manifest", "data.mdb", "chunks/0-1"):
            assert ask(started.address, "GET", f"/v1/base-backups/{whole}/{path}").status == 404
        assert ask(started.address, "DELETE", f"/v1/base-backups/{whole}").status == 204
        for name in ("%0A2026-01-01%20INFO%20forged", "%1B[2J", "%E2%80%AE"):
            ask(started.address, "DELETE", f"/v1/slots/{name}")
            ask(started.address, "PUT", f"/v1/slots/{name}", body=b'{"lsn":1}')
        started.stop()  # the line of a request follows its answer
        lines = started.log.read_text().splitlines()
    assert len([line for line in lines if "/v1/base-backups/aaaaaaaa" in line]) == 4
    assert not [line for line in lines if "a" * 9 in line or "b" * 9 in line]
    assert len([line for line in lines if "/v1/slots/" in line]) == 6
    assert all(line.isprintable() for line in lines)


def test_tokens_show_nothing_of_themselves(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither as text, nor in what they hold, nor in what is said of a wrong file."""
    path = token_file(tmp_path)
    tokens = Tokens.read(path)
    with caplog.at_level(logging.DEBUG):
        for authorization in (
            f"Bearer {READ_TOKEN}",
            f"Bearer {READ_TOKEN}0",
            None,
            "Bearer \u00e9",
        ):
            tokens.scope_of(authorization)
    assert READ_TOKEN not in caplog.text + repr(tokens) + str(vars(tokens))
    for line in (
        f"raed {READ_TOKEN}",
        f"read {READ_TOKEN} x",
        f"read {READ_TOKEN}\u00e9",
        READ_TOKEN,
    ):
        path.write_text(f"{line}\n")
        with pytest.raises(InvalidValue, match="line 1") as refused:
            Tokens.read(path)
        assert READ_TOKEN not in str(refused.value) + refused.value.hint


def test_a_key_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    """As a file of tokens is; the message has nothing of it."""
    known = certificates(tmp_path)
    tls_context(known.server_certificate, known.server_key, known.ca)
    known.server_key.chmod(0o604)
    with pytest.raises(InvalidValue, match="everybody may read") as refused:
        tls_context(known.server_certificate, known.server_key, None)
    assert known.server_key.read_text()[40:80] not in str(refused.value)
