"""Settings: where they come from, which wins, and what an operator is told about wrong ones."""

from __future__ import annotations

import dataclasses
import ipaddress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringback.config import Settings, SettingsError, load_settings, values
from ringback.config.in_force import settings_in_force
from ringback.config.settings import declared_settings
from ringback.config.values import HostPort
from ringback.model.settings import Origin
from ringback.policy.proxies import ProxyAddress


def problems_of(*, flags: dict[str, str] | None = None, environ: dict[str, str] | None = None, file: Path | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags or {}, environ or {}, str(file) if file else None)
    return caught.value.problems


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ringback.toml"


def test_without_any_source_the_defaults_are_those_of_the_contract() -> None:
    settings = load_settings({}, {}, None)
    assert settings.listen_address == HostPort("127.0.0.1", 8071)
    assert settings.database_url == "sqlite:///ringback.db"
    assert [wait.total_seconds() for wait in settings.retry_schedule] == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 72000]
    assert settings.request_timeout == timedelta(seconds=30)
    assert settings.max_body_bytes == 2 * 1024 * 1024
    assert settings.idempotency_ttl == timedelta(hours=12)
    assert settings.whitelist_subnets == ()


def test_a_flag_beats_the_environment_which_beats_the_file_which_beats_the_default(file: Path) -> None:
    file.write_text('listen_address = "127.0.0.1:1"\nrequest_timeout = 10\nlog_level = "debug"\n')
    environ = {"RINGBACK_LISTEN_ADDRESS": "127.0.0.1:2", "RINGBACK_REQUEST_TIMEOUT": "11"}
    settings = load_settings({"listen_address": "127.0.0.1:3"}, environ, str(file))
    assert (settings.listen_address.port, settings.request_timeout.total_seconds(), settings.log_level) == (3, 11, "debug")
    assert settings.max_in_flight == Settings().max_in_flight


def test_the_file_may_be_named_by_a_variable(file: Path) -> None:
    file.write_text("uvloop = false\n")
    assert load_settings({}, {"RINGBACK_CONFIG": str(file)}, None).uvloop is False


def test_toml_lists_numbers_and_booleans_mean_what_their_text_means(file: Path) -> None:
    file.write_text('retry_schedule = [1, "5m", 2.5]\nwhitelist_subnets = ["127.0.0.1/32", "::1"]\nendpoint_https_only = true\n')
    settings = load_settings({}, {}, str(file))
    assert [wait.total_seconds() for wait in settings.retry_schedule] == [1, 300, 2.5]
    assert settings.whitelist_subnets == (ipaddress.ip_network("127.0.0.1/32"), ipaddress.ip_network("::1/128"))
    assert settings.endpoint_https_only is True


def test_the_reference_servers_variables_are_read_and_ours_win() -> None:
    environ = {"SVIX_WORKER_REQUEST_TIMEOUT": "20", "SVIX_RETRY_SCHEDULE": "[1, 2]", "SVIX_MAX_BODY_BYTES": "1024"}
    settings = load_settings({}, {**environ, "RINGBACK_MAX_BODY_BYTES": "2048"}, None)
    assert settings.request_timeout == timedelta(seconds=20)
    assert settings.retry_schedule == (timedelta(seconds=1), timedelta(seconds=2))
    assert settings.max_body_bytes == 2048


@pytest.mark.parametrize(("switch", "style"), [("true", "standard"), ("false", "svix")])
def test_whitelabel_headers_is_a_header_style(switch: str, style: str) -> None:
    assert load_settings({}, {"SVIX_WHITELABEL_HEADERS": switch}, None).header_style == style


def test_variables_of_other_programs_are_left_alone() -> None:
    environ = {"SVIX_QUEUE_TYPE": "redis", "RINGBACK_SERVICE_HOST": "10.0.0.1", "RINGBACK_PORT": "tcp://10.0.0.1:80", "PATH": "/bin"}
    assert load_settings({}, environ, None) == Settings()


def test_an_empty_variable_leaves_the_setting_out() -> None:
    assert load_settings({}, {"RINGBACK_TOKEN": "", "RINGBACK_RETRY_SCHEDULE": ""}, None) == Settings()


def test_an_empty_schedule_means_one_attempt() -> None:
    assert load_settings({}, {"RINGBACK_RETRY_SCHEDULE": "[]"}, None).retry_schedule == ()


def test_all_problems_are_told_at_once_each_with_its_source_and_what_is_allowed(file: Path) -> None:
    file.write_text('\nlog_level = "loud"\n')
    told = problems_of(flags={"listen_address": "nonsense"}, environ={"RINGBACK_REQUEST_TIMEOUT": "31s"}, file=file)
    assert len(told) == 3
    assert any(line.startswith("--listen = 'nonsense'") and "HOST:PORT" in line for line in told)
    assert any(line.startswith("RINGBACK_REQUEST_TIMEOUT = '31s' is too long") and "from 1s to 30s" in line for line in told)
    assert any(line.startswith(f"{file} line 2: log_level = 'loud'") and "debug, info, warning, error" in line for line in told)


def test_a_misspelt_name_is_told_what_it_probably_means(file: Path) -> None:
    file.write_text("[table]\nx = 1\n\n[retry_shedule]\ny = 2\n")
    told = problems_of(environ={"RINGBACK_REQUEST_TIMEOU": "3"}, file=file)
    assert any("RINGBACK_REQUEST_TIMEOU is not a setting. Did you mean RINGBACK_REQUEST_TIMEOUT?" in line for line in told)
    assert any("line 4: retry_shedule is not a setting. Did you mean retry_schedule?" in line for line in told)
    assert any("table is not a setting" in line for line in told)


@pytest.mark.parametrize(
    ("tried", "meant"),
    [("LISTEN", "RINGBACK_LISTEN_ADDRESS"), ("DATABASE", "RINGBACK_DATABASE_URL"), ("MAIN_SECRT", "RINGBACK_MAIN_SECRET")],
)
def test_the_name_of_a_flag_is_told_the_setting_behind_it(tried: str, meant: str) -> None:
    (told,) = problems_of(environ={f"RINGBACK_{tried}": "x"})
    assert told == f"RINGBACK_{tried} is not a setting. Did you mean {meant}?"


def test_a_secret_is_never_shown() -> None:
    (told,) = problems_of(environ={"RINGBACK_TOKEN": "hush"})
    assert "hush" not in told
    settings = load_settings({}, {"RINGBACK_TOKEN": "sk_hush_hush_hush", "RINGBACK_MAIN_SECRET": "0123456789abcdef"}, None)
    assert "hush" not in repr(settings) and "0123456789abcdef" not in repr(settings)
    assert settings.token is not None and settings.token.reveal() == "sk_hush_hush_hush"


def test_a_key_for_signed_tokens_may_be_pem_with_its_lines_and_blanks(file: Path) -> None:
    pem = f"-----BEGIN PUBLIC KEY-----\n{'MCowBQYDK2VwAyEA' * 4}\n-----END PUBLIC KEY-----\n"
    file.write_text(f'jwt_algorithm = "EdDSA"\njwt_secret = """{pem}"""\n')
    from_variable = load_settings({}, {"RINGBACK_JWT_SECRET": pem, "RINGBACK_JWT_ALGORITHM": "EdDSA"}, None).jwt_secret
    from_file = load_settings({}, {}, str(file)).jwt_secret
    assert from_variable == from_file == values.Secret(pem.strip())
    for wrong in ("two words", "-----BEGIN PUBLIC KEY-----\n\x00\n-----END PUBLIC KEY-----", "two\nlines of it"):
        (told,) = problems_of(environ={"RINGBACK_JWT_SECRET": wrong})
        assert told.startswith("RINGBACK_JWT_SECRET = **** has characters") and "or a key or certificate in PEM" in told


def test_who_may_frame_the_portal_is_a_list_of_origins() -> None:
    written = "https://App.example.com, http://localhost:8080, https://*.example.org"
    settings = load_settings({}, {"RINGBACK_PORTAL_FRAME_ANCESTORS": written}, None)
    assert settings.portal_frame_ancestors == ("https://app.example.com", "http://localhost:8080", "https://*.example.org")
    for wrong in ("app.example.com; script-src *", "'self'", "https://a.example/path", "*", "ftp://a.example", "https://"):
        (told,) = problems_of(environ={"RINGBACK_PORTAL_FRAME_ANCESTORS": wrong})
        assert "is no origin" in told and told.endswith("Allowed: origins such as https://app.example.com with commas between.")


@pytest.mark.parametrize("content", [b"a = ", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_a_file_that_is_no_toml_is_one_clear_problem(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    (told,) = problems_of(file=file)
    assert "is not valid TOML" in told


def test_a_file_that_is_missing_is_named(file: Path) -> None:
    (told,) = problems_of(file=file)
    assert str(file) in told and "cannot be read" in told


@pytest.mark.parametrize(
    "environ",
    [
        {"RINGBACK_BODY_MEMORY_MAX": "2MiB", "RINGBACK_MAX_BODY_BYTES": "4MiB"},
        {"RINGBACK_MAX_IN_FLIGHT": "10"},
    ],
)
def test_settings_that_contradict_each_other_are_refused(environ: dict[str, str]) -> None:
    (told,) = problems_of(environ=environ)
    assert ":" in told


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [("127.0.0.1:0", "127.0.0.1", 0), ("[::1]:8071", "::1", 8071), ("[::]:65535", "::", 65535), ("localhost:80", "localhost", 80)],
)
def test_listen_addresses(text: str, host: str, port: int) -> None:
    address = values.host_port().parse(text)
    assert address == HostPort(host, port) and str(address) == text


@pytest.mark.parametrize("text", ["", "8071", ":8071", "::1:8071", "[::1]", "[::g]:1", "host:65536", "host:-1", "a b:1", "[127.0.0.1]:x"])
def test_what_is_no_listen_address(text: str) -> None:
    with pytest.raises(ValueError):
        values.host_port().parse(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("sqlite:///a.db", "sqlite:///a.db"),
        ("sqlite:////var/lib/a.db", "sqlite:////var/lib/a.db"),
        ("data/a.db", "sqlite:///data/a.db"),
        ("/var/lib/a.db", "sqlite:////var/lib/a.db"),
        ("50% done?.db", "sqlite:///50%25%20done%3F.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
    ],
)
def test_database_urls_and_paths(text: str, url: str) -> None:
    assert load_settings({"database_url": text}, {}, None).database_url == url


@pytest.mark.parametrize("text", ["", "sqlite://a.db", "sqlite:///", "postgresql://localhost/x", "mysql://x"])
def test_databases_that_cannot_be_used(text: str) -> None:
    assert problems_of(flags={"database_url": text})


@pytest.mark.parametrize(
    ("text", "seconds"), [("30", 30), ("30s", 30), ("250ms", 0.25), ("5m", 300), ("12h", 43_200), ("90d", 7_776_000), ("1.5h", 5_400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert values.parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize(("text", "size"), [("20000", 20_000), ("64KiB", 65_536), ("2MiB", 2_097_152), ("1 GB", 1_000_000_000), ("0", 0)])
def test_sizes(text: str, size: int) -> None:
    assert values.parse_size(text) == size


def test_a_network_with_bits_after_its_prefix_is_told_what_it_probably_means() -> None:
    (told,) = problems_of(environ={"RINGBACK_WHITELIST_SUBNETS": "10.0.0.0/8,192.168.1.1/24"})
    assert "did you mean 192.168.1.0/24? Allowed: " in told


@given(st.text(), st.sampled_from(declared_settings()))
def test_any_text_is_a_value_or_a_problem_in_words(text: str, declared: object) -> None:
    name = getattr(declared, "name")  # noqa: B009 - hypothesis hands over an object
    try:
        assert isinstance(load_settings({name: text}, {}, None), Settings)
    except SettingsError as error:
        assert error.problems


def test_a_proxy_and_its_exceptions_are_read_from_the_reference_servers_names_too() -> None:
    environ = {"SVIX_PROXY_ADDR": "socks5://user:pass@proxy:1080", "SVIX_NOPROXY": "localhost, .internal:8080,10.0.0.0/8"}
    chosen = load_settings({}, environ, None)
    assert chosen.proxy_addr == ProxyAddress("socks5", "proxy", 1080, b"user", b"pass")
    assert chosen.noproxy.covers_name("localhost", 1)
    assert chosen.noproxy.covers_name("a.internal", 8080) and not chosen.noproxy.covers_name("a.internal", 1)


def test_a_wrong_proxy_is_refused_without_showing_its_password() -> None:
    (told,) = problems_of(environ={"RINGBACK_PROXY_ADDR": "ftp://user:secret@proxy:1"})
    assert told.startswith("RINGBACK_PROXY_ADDR = **** has no scheme that a proxy is spoken to with")
    assert "secret" not in told
    (told,) = problems_of(environ={"RINGBACK_NOPROXY": "fine.example,10.0.0.1/8"})
    assert "'10.0.0.1/8'" in told


def test_every_default_is_written_as_its_kind_allows() -> None:
    for declared in declared_settings():
        field = next(field for field in dataclasses.fields(Settings) if field.name == declared.name)
        assert field.default == (declared.kind.parse(declared.default) if declared.default or field.default is not None else None)


def test_what_is_in_force_says_where_it_was_written_and_keeps_secrets(tmp_path: Path) -> None:
    file = tmp_path / "ringback.toml"
    file.write_text("uvloop = false\nmax_in_flight = 100\n")
    environ = {"SVIX_WORKER_REQUEST_TIMEOUT": "5", "RINGBACK_JWT_SECRET": "not-to-be-seen", "RINGBACK_MAX_IN_FLIGHT": "200"}
    settings = load_settings({"listen_address": "127.0.0.1:3"}, environ, str(file), defaults={"log_level": "debug"})
    found = {one.name: one for one in settings_in_force(settings)}
    assert list(found) == [declared.name for declared in declared_settings()]

    def told(name: str) -> tuple[str, Origin, str]:
        return found[name].value, found[name].origin, found[name].where.replace(str(tmp_path), "")

    assert told("uvloop") == ("false", Origin.FILE, "/ringback.toml line 1: uvloop")
    assert told("max_in_flight") == ("200", Origin.ENVIRONMENT, "RINGBACK_MAX_IN_FLIGHT")
    assert told("request_timeout") == ("5", Origin.ENVIRONMENT, "SVIX_WORKER_REQUEST_TIMEOUT")
    assert told("listen_address") == ("127.0.0.1:3", Origin.FLAG, "--listen")
    assert told("log_level") == ("debug", Origin.PROGRAM, "default of log_level")
    assert told("drain_timeout") == ("8s", Origin.DEFAULT, "")
    assert told("jwt_secret") == ("", Origin.ENVIRONMENT, "RINGBACK_JWT_SECRET") and found["jwt_secret"].given
    assert not found["main_secret"].given and "not-to-be-seen" not in str(found) + repr(settings)


def test_what_a_command_changed_is_told_as_it_is() -> None:
    settings = load_settings({"whitelist_subnets": "10.0.0.0/8"}, {}, None)
    changed = dataclasses.replace(
        settings,
        whitelist_subnets=(*settings.whitelist_subnets, ipaddress.ip_network("127.0.0.1/32")),
        token=values.Secret("made-by-the-command"),
        retry_after_max=timedelta(minutes=2),
    )
    found = {one.name: one for one in settings_in_force(changed)}
    assert (found["whitelist_subnets"].value, found["whitelist_subnets"].origin) == ("10.0.0.0/8,127.0.0.1/32", Origin.PROGRAM)
    assert (found["retry_after_max"].value, found["retry_after_max"].origin) == ("120s", Origin.PROGRAM)
    assert found["token"].given and found["token"].origin is Origin.PROGRAM and found["token"].value == ""


def test_sources_are_tables_of_the_file_or_json_of_the_variable_and_never_shown(file: Path) -> None:
    file.write_text('[[sources]]\nuid = "a"\nsecrets = ["${NEEDLE}", "plain ${NEEDLE}"]\n[sources.answer]\nstatus = 202\n')
    settings = load_settings({}, {"NEEDLE": "needle"}, str(file))
    assert settings.sources == ({"uid": "a", "secrets": ["needle", "plain ${NEEDLE}"], "answer": {"status": 202}},)
    assert "needle" not in repr(settings)
    assert load_settings({}, {"RINGBACK_SOURCES": '[{"uid":"b"}]'}, str(file)).sources == ({"uid": "b"},)
    (problem,) = problems_of(file=file)
    assert problem == "sources names the variable NEEDLE, which is not set. Set it, or write the value itself."
    (problem,) = problems_of(environ={"RINGBACK_SOURCES": '{"secrets":["needle"]}'})
    assert problem.startswith("RINGBACK_SOURCES = **** is no list of tables.") and "needle" not in problem


def test_proxy_headers_need_proxies_that_may_send_them() -> None:
    assert "trusted_proxies" in problems_of(environ={"RINGBACK_PROXY_PROTOCOL": "on"})[0]
    assert load_settings({}, {"RINGBACK_PROXY_PROTOCOL": "on", "RINGBACK_TRUSTED_PROXIES": "10.0.0.1"}, None).proxy_protocol is True


def test_standard_variables_count_for_traces_once_these_are_exported_and_ours_win() -> None:
    standard = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://other:4318",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x,X-Tenant=a",
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_TRACES_SAMPLER_ARG": "0.25",
    }
    # What stands there for other programs switches nothing on, and is not even read.
    off = load_settings({}, standard | {"OTEL_TRACES_SAMPLER_ARG": "wrong"}, None)
    assert (off.otel_endpoint, off.otel_headers, off.otel_service_name, off.otel_sample_ratio) == (None, (), None, 1.0)
    on = load_settings({}, standard | {"RINGBACK_OTEL_ENDPOINT": "http://collector:4318/", "RINGBACK_OTEL_SAMPLE_RATIO": ".01"}, None)
    assert on.otel_endpoint == "http://collector:4318" and on.otel_sample_ratio == 0.01
    assert on.otel_headers == (("authorization", "Bearer x"), ("x-tenant", "a")) and on.otel_service_name == "shop"
    assert "Bearer" not in repr(on)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("RINGBACK_OTEL_ENDPOINT", "collector:4318"),
        ("RINGBACK_OTEL_ENDPOINT", "http://user:word@collector:4318"),
        ("RINGBACK_OTEL_HEADERS", "no-equals-sign-hidden"),
        ("RINGBACK_OTEL_HEADERS", "a=hidden%0d%0ab: c"),
        ("RINGBACK_OTEL_SAMPLE_RATIO", "1.01"),
        ("RINGBACK_OTEL_SAMPLE_RATIO", "nan"),
        ("OTEL_TRACES_SAMPLER_ARG", "half"),
    ],
)
def test_wrong_settings_of_traces_are_refused_by_name_and_no_header_is_shown(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({}, {"RINGBACK_OTEL_ENDPOINT": "http://collector:4318", name: text}, None)
    assert name in str(refused.value) and "hidden" not in str(refused.value)
