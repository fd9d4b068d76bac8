"""The standard variables say where and what is exported; what cannot be used is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from accounts import NOTHING, exporting, told_once
from faulty import PROTOCOLS, running

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelcol import Collector

URL = "a URL like http://localhost:4318"
LIKE = {"http/protobuf": URL, "grpc": "a URL like http://localhost:4317, or host:port"}


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("EXPORTER_OTLP_ENDPOINT", "localhost:4318", f'must be {URL}, not "localhost:4318"'),
        ("EXPORTER_OTLP_TRACES_ENDPOINT", "http://[", f'must be {URL}, not "http://["'),
        ("EXPORTER_OTLP_PROTOCOL", "http/json", 'must be grpc or http/protobuf, not "http/json"'),
        ("EXPORTER_OTLP_TRACES_PROTOCOL", "udp", 'must be grpc or http/protobuf, not "udp"'),
        ("EXPORTER_OTLP_TIMEOUT", "10s", 'must be a whole number, not "10s"'),
        ("EXPORTER_OTLP_COMPRESSION", "zstd", 'must be gzip or none, not "zstd"'),
        ("EXPORTER_OTLP_HEADERS", "secret", "must be key=value,key=value, percent-encoded"),
        ("RESOURCE_ATTRIBUTES", "=x", "must be key=value,key=value, percent-encoded"),
        ("SDK_DISABLED", "yes", 'must be true or false, not "yes"'),
        ("BSP_EXPORT_TIMEOUT", "1s", 'must be a whole number, not "1s"'),
        ("METRIC_EXPORT_TIMEOUT", "-1", 'must be a whole number, not "-1"'),
        ("BSP_MAX_QUEUE_SIZE", "-1", 'must be a whole number, not "-1"'),
        ("SERVICE_NAME", "caf\udce9", "must be UTF-8"),
        ("EXPORTER_OTLP_ENDPOINT", "http://caf\udce9:4318", "must be UTF-8"),
    ],
)
def test_variable_that_cannot_be_used_is_named(
    settings: Callable[..., None], name: str, value: str, problem: str
) -> None:
    settings(**{name: value})
    with pytest.raises(ValueError, match=r"^OTEL_") as caught:
        gilscope.instrument()
    assert str(caught.value) == f"OTEL_{name} {problem}"


@pytest.mark.parametrize(
    ("sampler", "argument", "problem"),
    [
        (
            "sometimes",
            "1",
            "OTEL_TRACES_SAMPLER must be always_on, always_off, traceidratio, or one of them with "
            'parentbased_ before it, not "sometimes"',
        ),
        ("traceidratio", "2e", 'OTEL_TRACES_SAMPLER_ARG must be between 0 and 1, not "2e"'),
        ("traceidratio", "-1", 'OTEL_TRACES_SAMPLER_ARG must be between 0 and 1, not "-1"'),
        ("traceidratio", "nan", 'OTEL_TRACES_SAMPLER_ARG must be between 0 and 1, not "nan"'),
    ],
)
def test_sampler_that_cannot_be_used_is_named(
    settings: Callable[..., None], sampler: str, argument: str, problem: str
) -> None:
    settings(TRACES_SAMPLER=sampler, TRACES_SAMPLER_ARG=argument)
    with pytest.raises(ValueError, match=r"^OTEL_") as caught:
        gilscope.instrument()
    assert str(caught.value) == problem


UNUSABLE = [
    "",
    " ",
    "localhost",
    "localhost:",
    ":4317",
    "::1:4317",
    "localhost:99999",
    "local host:4317",
    "localhost:4317/",
    "ftp://localhost",
    "http:localhost:4318",
    "http:/localhost",
    "http:\\\\localhost",
    "http://",
    "http://[",
    "http:///v1/traces",
    "http://a b",
    "http://localhost:99999",
    "http://localhost:4318 ",
    "http://localhost:4318\n",
    "http://lo\tcalhost",
    "http://localhost:4318/\0",
]


@pytest.mark.parametrize("endpoint", UNUSABLE)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_endpoint_that_cannot_be_used_is_refused(
    settings: Callable[..., None], protocol: str, endpoint: str
) -> None:
    settings(EXPORTER_OTLP_PROTOCOL=protocol)
    with pytest.raises(ValueError, match=r"^the endpoint must be ") as caught:
        gilscope.instrument(otlp=endpoint)
    shown = endpoint.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
    told = f'the endpoint must be {LIKE[protocol]}, not "{shown}"'
    assert str(caught.value) == told.replace("\0", "\\0")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"otlp": 5}, "otlp must be an address, True, False or None, not 5 (int)"),
        ({"watchdog": "x"}, "watchdog must be True, False or a number of seconds, not 'x' (str)"),
        ({"close_within": "x"}, "close_within must be a number of seconds or None, not 'x' (str)"),
    ],
)
def test_argument_of_a_wrong_type_is_refused_by_its_name(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError) as caught:
        gilscope.instrument(**wrong)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "endpoint", ["http://me:secret@", "http://me:secret@a b", "me:secret@host"]
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_password_in_an_address_that_cannot_be_used_is_not_told(
    settings: Callable[..., None], protocol: str, endpoint: str
) -> None:
    settings(EXPORTER_OTLP_PROTOCOL=protocol)
    with pytest.raises(ValueError, match=r"^the endpoint must be ") as caught:
        gilscope.instrument(otlp=endpoint)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "unusable",
    [
        {},
        {"EXPORTER_OTLP_ENDPOINT": "nowhere"},
        {"EXPORTER_OTLP_PROTOCOL": "http/json"},
        {"BSP_MAX_QUEUE_SIZE": "many"},
        {"TRACES_SAMPLER": "sometimes"},
        {"SERVICE_NAME": "caf\udce9"},
    ],
)
def test_disabled_exports_nothing_whatever_else_is_set(
    settings: Callable[..., None], unusable: dict[str, str]
) -> None:
    settings(SDK_DISABLED="True", **unusable)
    with gilscope.instrument() as export, gilscope.PyRuntime() as rt:
        rt.call(int)
        assert not export.active
    assert (export.exported, sum(export.lost.values())) == (0, 0)


@pytest.mark.parametrize("own", ["EXPORTER_OTLP_INSECURE", "EXPORTER_OTLP_TRACES_INSECURE"])
def test_address_for_grpc_may_be_a_host_and_a_port(settings: Callable[..., None], own: str) -> None:
    settings(EXPORTER_OTLP_PROTOCOL="grpc", **{own: "true"})
    with running("grpc") as faulty:
        address = faulty.url.removeprefix("http://")
        settings(EXPORTER_OTLP_TRACES_ENDPOINT=address)
        with exporting(None) as export:
            export.call(10)
    assert export.lost == NOTHING


def test_address_for_grpc_without_a_scheme_is_one_with_tls(
    settings: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    settings(EXPORTER_OTLP_PROTOCOL="grpc", EXPORTER_OTLP_METRICS_INSECURE="true")
    with running("grpc") as faulty:
        address = faulty.url.removeprefix("http://")
        settings(EXPORTER_OTLP_ENDPOINT=address)
        with exporting(None) as export:
            export.call(10)
        assert faulty.metrics
        assert not faulty.requests
    told = told_once(capfd, export)
    assert told.endswith(f" (grpc to https://{address}; is that a port without TLS?)\n")


def test_address_without_a_scheme_needs_a_flag_that_is_one(settings: Callable[..., None]) -> None:
    settings(EXPORTER_OTLP_PROTOCOL="grpc", EXPORTER_OTLP_INSECURE="1")
    with pytest.raises(ValueError, match=r"^OTEL_EXPORTER_OTLP_INSECURE must be true or false, "):
        gilscope.instrument(otlp="localhost:4317")
    gilscope.instrument(otlp="http://localhost:4317").close()  # says it itself


def test_own_endpoint_of_traces_is_used_as_it_is(
    collector: Collector, settings: Callable[..., None]
) -> None:
    url = collector.url("http/protobuf")
    settings(EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9", EXPORTER_OTLP_TRACES_ENDPOINT=url)
    settings(EXPORTER_OTLP_TRACES_ENDPOINT=f"{url}/v1/traces")
    with gilscope.instrument() as export, gilscope.PyRuntime() as rt:
        rt.call(int)
    assert export.exported >= 7


@pytest.mark.parametrize("ratio", ["0", "0.25", "1"])
def test_ratio_samples_by_the_low_half_of_the_trace_id(
    collector: Collector, settings: Callable[..., None], ratio: str
) -> None:
    settings(
        EXPORTER_OTLP_ENDPOINT=collector.url("http/protobuf"),
        TRACES_SAMPLER="parentbased_traceidratio",
        TRACES_SAMPLER_ARG=ratio,
    )
    with gilscope.trace() as trace, gilscope.instrument() as export, gilscope.PyRuntime() as rt:
        for future in [rt.submit(int) for _ in range(200)]:
            future.result(30)
        spans = trace.spans
        export.close()
    assert sum(export.lost.values()) == 0
    collector.stop()
    traces = {span["trace"] for span in spans if span["trace"]}
    bound = float(ratio) * 2**64
    wanted = {trace for trace in traces if int(trace[16:], 16) < bound}
    came = {s["traceId"] for s in collector.receiver.spans() if s["name"] != "loop.turn"}
    assert came == wanted
