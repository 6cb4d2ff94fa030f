"""https: the connection goes to an address, the certificate is checked for the name."""

import datetime
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from saccade.serving.config.media import MediaConfig
from saccade.serving.errors import InvalidRequestError
from saccade.serving.media.fetch import ByteBudget, MediaFetcher
from tests.unit.media.server import Names, Network, PictureServer, response

NAME = "pictures.example"
BODY = b"a picture"


def write_certificate(folder: Path) -> Path:
    """A self-signed certificate for NAME, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "server.pem"
    path.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return write_certificate(tmp_path)


@pytest.fixture
def names_asked() -> list[str | None]:
    return []


@pytest_asyncio.fixture
async def tls_server(
    certificate: Path, names_asked: list[str | None]
) -> AsyncIterator[PictureServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: names_asked.append(name)
    async with PictureServer(context) as server:
        server.routes["/"] = response(BODY)
        yield server


async def fetch(server: PictureServer, host: str, trusted: Path | None) -> bytes:
    names = Names({host: [["8.8.8.8"]]})
    context = ssl.create_default_context(cafile=trusted) if trusted else None
    async with MediaFetcher(
        MediaConfig(), resolve=names, network=Network(server), ssl_context=context
    ) as fetcher:
        return await fetcher.fetch(f"https://{host}/", param="p", budget=ByteBudget(1000))


async def test_the_name_is_asked_for_and_verified(
    tls_server: PictureServer, certificate: Path, names_asked: list[str | None]
) -> None:
    assert await fetch(tls_server, NAME, certificate) == BODY
    assert names_asked == [NAME]
    assert f"\r\nhost: {NAME}\r\n" in tls_server.heads[0].lower()


async def test_a_certificate_for_another_name_is_refused(
    tls_server: PictureServer, certificate: Path
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await fetch(tls_server, "other.example", certificate)
    assert caught.value.code == "image_fetch_failed"
    assert tls_server.heads == []


async def test_a_certificate_that_nobody_vouches_for_is_refused(tls_server: PictureServer) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await fetch(tls_server, NAME, None)
    assert caught.value.code == "image_fetch_failed"
    assert tls_server.heads == []
