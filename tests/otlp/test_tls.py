"""Collectors behind TLS: whom we trust, and who we are."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
import trustme
from accounts import told_once
from otelcol import Collector

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROTOCOLS = ["grpc", "http/protobuf"]
LIMIT = 30


class Files:
    """Certificates of an authority of the test's own, as files."""

    def __init__(self, folder: Path) -> None:
        authority, stranger = trustme.CA(), trustme.CA()
        self.authority, self.stranger = folder / "ca.pem", folder / "stranger.pem"
        authority.cert_pem.write_to_path(self.authority)
        stranger.cert_pem.write_to_path(self.stranger)
        self.server = self._pair(folder, "server", authority.issue_cert("127.0.0.1"))
        self.client = self._pair(folder, "client", authority.issue_cert("client@example.org"))

    def _pair(self, folder: Path, name: str, issued: trustme.LeafCert) -> tuple[Path, Path]:
        certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
        issued.private_key_pem.write_to_path(key)
        for blob in issued.cert_chain_pems:
            blob.write_to_path(certificate, append=True)
        return certificate, key


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """The test's own authority, and what it signed."""
    return Files(tmp_path)


@pytest.fixture
def secure(collector_program: Path, files: Files, tmp_path: Path) -> Iterator[Collector]:
    """A collector with a certificate."""
    certificate, key = files.server
    tls = {"cert_file": certificate, "key_file": key}
    with Collector(collector_program, tmp_path, tls) as running:
        yield running


@pytest.fixture
def mutual(collector_program: Path, files: Files, tmp_path: Path) -> Iterator[Collector]:
    """A collector with a certificate, which wants to see ours."""
    with wants_ours(collector_program, files, tmp_path) as running:
        yield running


def wants_ours(program: Path, files: Files, folder: Path) -> Collector:
    """A collector with a certificate, which wants to see one by the same authority."""
    certificate, key = files.server
    tls = {"cert_file": certificate, "key_file": key, "client_ca_file": files.authority}
    return Collector(program, folder, tls)


def all_arrive(collector: Collector) -> None:
    """Export some calls, and see all of them."""
    with gilscope.instrument() as exporter, gilscope.PyRuntime() as rt:
        for future in [rt.submit(int) for _ in range(50)]:
            future.result(LIMIT)
        rt.shutdown()
        exporter.close()
    assert sum(exporter.lost.values()) == 0, exporter.failure
    collector.stop()
    came = collector.receiver.spans()
    assert len(came) == exporter.exported
    assert sum(span["attributes"]["gilscope.span"] == "call" for span in came) == 50


def none_arrives(collector: Collector, capfd: pytest.CaptureFixture[str], problem: str) -> None:
    """Export some calls, none of which is taken, and say so in one line that has the problem."""
    with gilscope.instrument() as exporter, gilscope.PyRuntime() as rt:
        for future in [rt.submit(int) for _ in range(50)]:
            future.result(LIMIT)
        rt.shutdown()
        exporter.close()
    assert exporter.exported == 0
    assert sum(exporter.lost.values()) >= 7 * 50
    assert problem in told_once(capfd)
    collector.stop()
    assert collector.receiver.spans() == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_collector_whose_authority_is_given(
    secure: Collector, files: Files, settings: Callable[..., None], protocol: str
) -> None:
    settings(EXPORTER_OTLP_ENDPOINT=secure.url(protocol), EXPORTER_OTLP_PROTOCOL=protocol)
    settings(EXPORTER_OTLP_CERTIFICATE=files.authority)
    all_arrive(secure)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("trusted", ["stranger", None])
def test_b4_collector_that_nobody_vouches_for(
    secure: Collector,
    files: Files,
    settings: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    protocol: str,
    trusted: str | None,
) -> None:
    settings(EXPORTER_OTLP_ENDPOINT=secure.url(protocol), EXPORTER_OTLP_PROTOCOL=protocol)
    if trusted:
        settings(EXPORTER_OTLP_CERTIFICATE=files.stranger)
    none_arrives(secure, capfd, "invalid peer certificate")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_collector_that_wants_to_see_our_certificate(
    mutual: Collector, files: Files, settings: Callable[..., None], protocol: str
) -> None:
    certificate, key = files.client
    settings(EXPORTER_OTLP_ENDPOINT=mutual.url(protocol), EXPORTER_OTLP_PROTOCOL=protocol)
    settings(EXPORTER_OTLP_CERTIFICATE=files.authority)
    settings(EXPORTER_OTLP_CLIENT_CERTIFICATE=certificate, EXPORTER_OTLP_CLIENT_KEY=key)
    all_arrive(mutual)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_b4_collector_that_wants_to_see_a_certificate_we_have_not(
    mutual: Collector,
    files: Files,
    settings: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    protocol: str,
) -> None:
    settings(EXPORTER_OTLP_ENDPOINT=mutual.url(protocol), EXPORTER_OTLP_PROTOCOL=protocol)
    settings(EXPORTER_OTLP_CERTIFICATE=files.authority)
    # It may say that it wants one, or be gone before that is read.
    none_arrives(mutual, capfd, f"({protocol} to {mutual.url(protocol)}")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_each_signal_has_its_own_collector_authority_and_certificate(
    collector_program: Path,
    files: Files,
    settings: Callable[..., None],
    tmp_path: Path,
    protocol: str,
) -> None:
    certificate, key = files.client
    settings(EXPORTER_OTLP_PROTOCOL=protocol)
    settings(EXPORTER_OTLP_CERTIFICATE=files.authority)  # which vouches for neither
    settings(EXPORTER_OTLP_CLIENT_CERTIFICATE=certificate, EXPORTER_OTLP_CLIENT_KEY=key)
    with ExitStack() as both:
        collectors = []
        for signal in ("TRACES", "METRICS"):
            folder = tmp_path / signal
            folder.mkdir()
            its = Files(folder)
            collector = both.enter_context(wants_ours(collector_program, its, folder))
            collectors.append(collector)
            path = f"/v1/{signal.lower()}" if protocol == "http/protobuf" else ""
            certificate, key = its.client
            variables = {
                "ENDPOINT": collector.url(protocol) + path,
                "CERTIFICATE": its.authority,
                "CLIENT_CERTIFICATE": certificate,
                "CLIENT_KEY": key,
            }
            settings(**{f"EXPORTER_OTLP_{signal}_{it}": value for it, value in variables.items()})
        traces, metrics = collectors
        all_arrive(traces)
        metrics.stop()
        assert traces.receiver.metrics() == {}
        assert metrics.receiver.spans() == []
        ended = metrics.receiver.metrics()["gilscope.calls"]["sum"]["dataPoints"]
        assert sum(int(point["asInt"]) for point in ended) >= 50


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("what", ["CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"])
@pytest.mark.parametrize("content", [None, "no certificate\n"])
def test_file_that_cannot_be_used_is_named(
    files: Files,
    settings: Callable[..., None],
    tmp_path: Path,
    protocol: str,
    what: str,
    content: str | None,
) -> None:
    certificate, key = files.client
    settings(EXPORTER_OTLP_ENDPOINT="https://127.0.0.1:9", EXPORTER_OTLP_PROTOCOL=protocol)
    settings(EXPORTER_OTLP_CLIENT_CERTIFICATE=certificate, EXPORTER_OTLP_CLIENT_KEY=key)
    bad = tmp_path / "bad.pem"
    if content is not None:
        bad.write_text(content)
    settings(**{f"EXPORTER_OTLP_{what}": bad})
    said = rf"^OTEL_EXPORTER_OTLP_{what} names .*bad\.pem, which "
    with pytest.raises(ValueError, match=said) as caught:
        gilscope.instrument()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("signal", ["TRACES", "METRICS"])
def test_file_of_one_signal_is_named_by_its_own_variable(
    files: Files, settings: Callable[..., None], tmp_path: Path, signal: str
) -> None:
    settings(EXPORTER_OTLP_ENDPOINT="https://127.0.0.1:9")
    settings(EXPORTER_OTLP_CERTIFICATE=files.authority)
    settings(**{f"EXPORTER_OTLP_{signal}_CERTIFICATE": tmp_path / "none.pem"})
    with pytest.raises(ValueError, match=rf"^OTEL_EXPORTER_OTLP_{signal}_CERTIFICATE names .*none"):
        gilscope.instrument()


@pytest.mark.parametrize("what", ["CLIENT_CERTIFICATE", "CLIENT_KEY"])
def test_half_of_a_pair_is_named(files: Files, settings: Callable[..., None], what: str) -> None:
    settings(EXPORTER_OTLP_ENDPOINT="https://127.0.0.1:9")
    settings(**{f"EXPORTER_OTLP_{what}": files.client[0]})
    with pytest.raises(ValueError, match=r"^OTEL_EXPORTER_OTLP_CLIENT") as caught:
        gilscope.instrument()
    assert str(caught.value).endswith(f"is needed with OTEL_EXPORTER_OTLP_{what}")
