from __future__ import annotations

import ipaddress
import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.proxy.worlds import ADDRESSES, IMPATIENT, SECRET, hang, run, world


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._certificate(self._subject, self._key, None)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server(self, address: str) -> ssl.SSLContext:
        """A server's side of TLS with a certificate for this address."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "upstream")])
        certificate = self._certificate(subject, key, address)
        file = self._folder / f"{address}-{id(self)}.pem"
        file.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _certificate(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, address: str | None
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        authority_key = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=address is None, path_length=None), True)
        )
        if address is None:
            builder = builder.add_extension(authority_key, False)
        else:
            names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
            identifier = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(
                authority_key
            )
            builder = builder.add_extension(names, False).add_extension(identifier, False)
        return builder.sign(self._key, hashes.SHA256())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


def test_calls_are_carried_over_tls(authority: Authority) -> None:
    """Over https a call is answered, its connection is pooled, and a dead path fails over as over http."""

    @run
    async def test() -> None:
        tls = {name: authority.server(ADDRESSES[name]) for name in ("tunnel-1", "tunnel-2")}
        async with world(tls=tls, settings_changes={"ca_file": str(authority.file)}) as w:
            for _ in range(3):
                answer = await w.call()
                assert (answer.status, answer.tunnel) == (200, "tunnel-1")
            assert w.upstreams["tunnel-1"].connections == 1
            await w.upstreams["tunnel-1"].refuse()
            answer = await w.call()
            assert (answer.status, answer.tunnel) == (200, "tunnel-2")

    test()


@pytest.mark.parametrize("wrong", ["another authority", "another address"])
def test_an_impostor_gets_nothing(authority: Authority, tmp_path: Path, wrong: str) -> None:
    """A peer whose certificate does not prove the endpoint's name receives no request."""

    @run
    async def test() -> None:
        impostor = (
            Authority(tmp_path, "theirs").server(ADDRESSES["tunnel-1"])
            if wrong == "another authority"
            else authority.server("127.0.99.1")
        )
        tls = {"tunnel-1": impostor, "tunnel-2": authority.server(ADDRESSES["tunnel-2"])}
        async with world(tls=tls, settings_changes={"ca_file": str(authority.file)}) as w:
            answer = await w.call()
            assert (answer.status, answer.tunnel) == (200, "tunnel-2")
            assert w.calls("tunnel-1") == 0
            await w.core.audit.flush(5)
            (row,) = w.rows.rows
            assert row["attempts"]["L"][0] == {"S": "tunnel-1: tls"}

    test()


def test_a_hung_path_is_found_over_tls(authority: Authority) -> None:
    """A process that takes connections and answers nothing is told from a slow model over https too."""

    @run
    async def test() -> None:
        tls = {name: authority.server(ADDRESSES[name]) for name in ("tunnel-1", "tunnel-2")}
        changes = IMPATIENT | {"ca_file": str(authority.file)}
        async with world(tls=tls, settings_changes=changes) as w:
            w.upstreams["tunnel-1"].behaviour = w.upstreams["tunnel-1"].probe_behaviour = hang
            answer = await w.call()
            assert (answer.status, answer.tunnel) == (200, "tunnel-2")

    test()


def test_an_api_key_is_sent_over_tls_and_never_in_the_clear(authority: Authority) -> None:
    """A bearer token goes to an https endpoint; with only a token, an http endpoint gets no call."""
    secret = json.dumps({"bearer_token": "bedrock-api-key-stand-in"})

    @run
    async def test() -> None:
        tls = {"tunnel-1": authority.server(ADDRESSES["tunnel-1"])}
        changes = {"ca_file": str(authority.file)}
        async with world("tunnel-1", tls=tls, settings_changes=changes, secret=secret) as w:
            assert (await w.call()).status == 200
            (seen,) = w.upstreams["tunnel-1"].calls
            assert seen.headers["authorization"] == "Bearer bedrock-api-key-stand-in"
        async with world("tunnel-1", secret=secret) as w:
            answer = await w.call()
            assert answer.status == 503
            assert answer.json["__type"] == "NoCredential"
            assert w.upstreams["tunnel-1"].calls == []
        both = json.dumps(json.loads(SECRET) | json.loads(secret))
        async with world("tunnel-1", secret=both) as w:
            assert (await w.call()).status == 200
            (seen,) = w.upstreams["tunnel-1"].calls
            assert seen.headers["authorization"].startswith("AWS4-HMAC-SHA256 ")

    test()
