"""Settings from files, mappings, the environment and plain Python."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from llm_backend.application.ports.rate_limiter import RateLimit
from llm_backend.config import (
    ConfigurationError,
    Database,
    Jwt,
    Limits,
    Llm,
    ObjectStorage,
    Port,
    Provider,
    Rag,
    Redis,
    Secret,
    Server,
    Settings,
)
from llm_backend.config.models import ModelPrice

REPOSITORY = Path(__file__).parents[2]
A_SECRET = "not-published-and-longer-than-thirty-two-bytes"
OF_THE_OLD_PRODUCT = """\
server:
  port: "8080"
redis:
  address: "localhost:6379"
  password: ""
  db: 0
sqlite:
  path: "./llm_backend.db"
  max_open_conns: 10
  max_idle_conns: 5
  conn_max_lifetime: 300 # in seconds
jwt:
  secret: "%s"
rag:
  service_addr: "localhost:50051"
"""
FULL_OF_FAULTS = """\
servr:
  port: 1
server:
  port: eighty
llm:
  providers:
    - name: first
      base_url: ftp://models.example.org
      models: ["a-*"]
    - base_url: https://models.example.org/v1
      modles: ["b-*"]
  timeouts:
    idle: 10 parsecs
jwt:
  secret: short
limits:
  upload: 64 mebibytes
"""


def a_file(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def faults_of(text: str, folder: Path, **environ: str) -> dict[str, str]:
    """Path of each fault, with where it is and what it says."""
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_file(a_file(folder, text), environ=environ)
    return {fault.path: f"{fault.where}: {fault.message}" for fault in caught.value.faults}


class TestDefaults:
    def test_nothing_at_all_is_a_complete_configuration(self) -> None:
        settings = Settings()

        assert settings.server == Server(host="127.0.0.1", port=Port(8080))
        assert settings.redis.address is None
        assert [provider.name for provider in settings.llm.providers] == ["openai", "zhipu", "demo"]
        assert settings.rag.default_embedding_model == "hash-1024"

    def test_an_empty_file_means_the_defaults(self, tmp_path: Path) -> None:
        assert Settings.from_file(a_file(tmp_path, ""), environ={}) == Settings()

    def test_a_file_of_empty_sections_means_the_defaults(self, tmp_path: Path) -> None:
        text = "server:\nllm:\n  providers:\nrag:\nlimits:\n"

        assert Settings.from_file(a_file(tmp_path, text), environ={}) == Settings()

    def test_the_file_of_the_repository_says_what_the_defaults_are(self) -> None:
        settings = Settings.from_file(REPOSITORY / "config.yaml", environ={})

        assert settings.llm == Settings().llm
        assert settings.limits == Settings().limits
        assert settings.answers == Settings().answers
        assert settings.server == Settings().server
        assert settings.rag.parsing == Settings().rag.parsing
        assert settings.rag.embedding_models == Settings().rag.embedding_models
        assert settings.database_file == Settings().database_file
        assert Path(settings.lancedb_uri) == Path(Settings().lancedb_uri)

    def test_the_commented_examples_of_the_repository_load_as_well(self, tmp_path: Path) -> None:
        text = (REPOSITORY / "config.yaml").read_text(encoding="utf-8")
        uncommented = "\n".join(
            line.replace("# ", "", 1) if line.lstrip().startswith(("# - name", "#   ")) and line[0] == " " else line
            for line in text.splitlines()
        )

        settings = Settings.from_file(a_file(tmp_path, uncommented), environ={})

        names = [provider.name for provider in settings.llm.providers]
        assert names == ["openai", "zhipu", "deepseek", "ollama", "ollama-2", "vllm", "demo"]
        assert [model.name for model in settings.rag.embedding_models][-2:] == ["bge-m3", "e5-small"]

    def test_everything_without_a_path_of_its_own_is_in_the_data_folder(self, tmp_path: Path) -> None:
        settings = Settings(data_folder=tmp_path)

        places = [
            settings.database_file,
            Path(settings.lancedb_uri),
            settings.uploads_folder,
            settings.originals_folder,
        ]
        assert all(place.parent == tmp_path for place in [*places, settings.jwt_secret_file, settings.key_file])

    def test_the_file_of_the_working_directory_is_found(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        a_file(tmp_path, "server: {port: 9000}")
        monkeypatch.chdir(tmp_path)

        assert Settings.from_environment(environ={}).server.port == 9000

    def test_without_a_file_the_environment_alone_configures(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)

        settings = Settings.from_environment(environ={"OPENAI_API_KEY": "sk-1", "LLM_BACKEND__SERVER__PORT": "8081"})

        assert settings.server.port == 8081
        assert settings.llm.providers[0].api_key == Secret("sk-1")


class TestTheOldProduct:
    def test_its_file_loads_with_a_new_secret(self, tmp_path: Path) -> None:
        settings = Settings.from_file(a_file(tmp_path, OF_THE_OLD_PRODUCT % A_SECRET), environ={})

        assert settings.server.port == 8080
        assert settings.redis == Redis(address=Secret("localhost:6379"), password=None, db=0)
        assert settings.database_file == Path("llm_backend.db")
        assert settings.sqlite.max_open_conns == 10
        assert settings.jwt.secret == Secret(A_SECRET)

    def test_what_no_longer_has_an_effect_is_named(self, tmp_path: Path) -> None:
        settings = Settings.from_file(a_file(tmp_path, OF_THE_OLD_PRODUCT % A_SECRET), environ={})

        named = [notice.partition(" ")[0] for notice in settings.notices()]
        assert named == [
            "rag.service_addr",
            "sqlite.max_open_conns",
            "sqlite.max_idle_conns",
            "sqlite.conn_max_lifetime",
        ]

    def test_its_published_secret_is_refused_with_a_way_out(self, tmp_path: Path) -> None:
        found = faults_of(OF_THE_OLD_PRODUCT % "S3cureK3y#2024!AIsafety", tmp_path)

        assert list(found) == ["jwt.secret"]
        assert found["jwt.secret"].startswith("line 13: is published")
        assert "secrets.token_urlsafe" in found["jwt.secret"]

    @pytest.mark.parametrize("port", ['"8080"', '":8080"', "8080"])
    def test_a_port_may_be_written_in_each_of_its_ways(self, port: str, tmp_path: Path) -> None:
        assert Settings.from_file(a_file(tmp_path, f"server: {{port: {port}}}"), environ={}).server.port == 8080


class TestValues:
    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("500ms", 0.5), ("10s", 10), ("5m", 300), ("24h", 86400), ("7d", 604800), ("1h30m", 5400), ("300", 300)],
    )
    def test_durations(self, text: str, seconds: float) -> None:
        assert Settings.from_mapping({"jwt": {"ttl": text}}).jwt.ttl == timedelta(seconds=seconds)

    @pytest.mark.parametrize(
        ("text", "size"),
        [
            ("4096", 4096),
            (4096, 4096),
            ("512KiB", 524288),
            ("64MiB", 67108864),
            ("10MB", 10**7),
            ("1.5GiB", 1610612736),
        ],
    )
    def test_sizes(self, text: object, size: int) -> None:
        assert Settings.from_mapping({"limits": {"upload": text}}).limits.upload == size

    @pytest.mark.parametrize(("text", "count", "minutes"), [("10/15m", 10, 15), ("60/1h", 60, 60), ("5/h", 5, 60)])
    def test_rates(self, text: str, count: int, minutes: int) -> None:
        limits = Settings.from_mapping({"limits": {"login_failures": text}}).limits

        assert limits.login_failures == RateLimit(count=count, period=timedelta(minutes=minutes))

    @pytest.mark.parametrize(("key", "value"), [("concurrency", -1), ("attempts", 0), ("lease", "0s")])
    def test_jobs_that_would_never_be_done_are_refused(self, key: str, value: object) -> None:
        with pytest.raises(ConfigurationError, match=f"jobs.{key}"):
            Settings.from_mapping({"jobs": {key: value}})

    def test_jobs_can_be_left_to_others_where_there_may_be_others(self) -> None:
        nobody = {"jobs": {"concurrency": 0}}
        database = {"url": "postgresql+asyncpg://me:hush@db/name"}

        assert Settings.from_mapping({**nobody, "database": database}).jobs.concurrency == 0
        with pytest.raises(ConfigurationError, match=r"jobs\.concurrency: must be at least 1 where"):
            Settings.from_mapping(nobody)

    def test_uploaded_files_may_be_elsewhere(self) -> None:
        assert Settings.from_mapping({"originals_uri": "/srv/originals"}).originals_folder == Path("/srv/originals")
        assert Settings.from_mapping({"originals_uri": "s3://bucket/originals"}).originals_uri
        for nowhere in ("s3://", "s3://b/x", "http://bucket/x", "s3://bucket/x?y"):
            with pytest.raises(ConfigurationError, match="originals_uri"):
                Settings.from_mapping({"originals_uri": nowhere})

    def test_prices_and_other_names_of_models(self, tmp_path: Path) -> None:
        text = """\
llm:
  aliases: {fast: gpt-4o-mini, gpt-3.5: "${OTHER:-qwen3}"}
  prices:
    - {models: ["gpt-4o-mini*"], prompt: 0.15, completion: 0.60, cached: 0.075}
    - {models: ["*"], prompt: 3}
rag: {threshold: 0.25}
"""

        settings = Settings.from_file(a_file(tmp_path, text), environ={})

        assert settings.llm.aliases == {"fast": "gpt-4o-mini", "gpt-3.5": "qwen3"}
        assert settings.llm.prices == (
            ModelPrice(models=("gpt-4o-mini*",), prompt=0.15, completion=0.60, cached=0.075),
            ModelPrice(models=("*",), prompt=3.0),
        )
        assert settings.rag.threshold == 0.25

    @pytest.mark.parametrize("price", ["dear", "1_0", "٣", "nan", "inf", "9" * 400, "-1", "true", ""])
    def test_what_is_no_price_is_a_fault(self, price: str, tmp_path: Path) -> None:
        text = f'llm: {{prices: [{{models: ["*"], prompt: "{price}"}}]}}'

        assert list(faults_of(text, tmp_path)) == ["llm.prices[0].prompt"]

    def test_a_price_of_what_was_read_before_is_a_price(self, tmp_path: Path) -> None:
        text = 'llm: {prices: [{models: ["*"], prompt: 1, cached: -1}]}'

        assert list(faults_of(text, tmp_path)) == ["llm.prices[0].cached"]

    @pytest.mark.parametrize("aliases", ["fast", "[fast]", "{fast: [a]}", "{fast: {a: b}}"])
    def test_what_is_no_other_name_is_a_fault(self, aliases: str, tmp_path: Path) -> None:
        (path,) = faults_of(f"llm: {{aliases: {aliases}}}", tmp_path)

        assert path.startswith("llm.aliases")

    def test_null_lifts_a_limit(self) -> None:
        settings = Settings.from_mapping({"limits": {"login_failures": None, "upload": None}})

        assert settings.limits == Limits(login_failures=None, upload=None)

    def test_null_does_away_with_the_breaker(self) -> None:
        assert Settings.from_mapping({"llm": {"breaker": None}}).llm.breaker is None
        assert Settings.from_mapping({}).llm.breaker is not None

    @pytest.mark.parametrize("text", ["-1", "1e3", "ten", "65536", "8_080", "٨٠", "", None, [1], {"a": 1}])
    def test_what_is_no_port_is_a_fault(self, text: object) -> None:
        with pytest.raises(ConfigurationError, match=r"server\.port"):
            Settings.from_mapping({"server": {"port": text}})

    @pytest.mark.parametrize("text", ["0/1m", "1/0s", "1/", "/1m", "10 per minute", "1/ten"])
    def test_what_is_no_rate_is_a_fault(self, text: str) -> None:
        with pytest.raises(ConfigurationError, match=r"limits\.login_failures"):
            Settings.from_mapping({"limits": {"login_failures": text}})

    @pytest.mark.parametrize("text", ["10 s", "s", "1y", "-5s", "9" * 30])
    def test_what_is_no_duration_is_a_fault(self, text: str) -> None:
        with pytest.raises(ConfigurationError, match=r"jwt\.ttl"):
            Settings.from_mapping({"jwt": {"ttl": text}})

    def test_numbers_stay_the_text_that_they_are_where_text_is_wanted(self, tmp_path: Path) -> None:
        settings = Settings.from_file(a_file(tmp_path, "redis: {password: 0123456}"), environ={})

        assert settings.redis.password == Secret("0123456")

    def test_several_addresses_are_those_of_a_redis_cluster(self) -> None:
        addresses = "redis://user:hush@node-1:6379, node-2:6379"

        settings = Settings.from_mapping({"redis": {"address": addresses, "cluster": True}})

        assert settings.redis.address == Secret(addresses)
        assert "hush" not in repr(settings)
        assert settings.redis.place == "redis://node-1:6379,node-2:6379"

    @pytest.mark.parametrize(
        ("key", "redis"),
        [
            ("address", {"address": "node-1:6379,node-2:6379"}),
            ("address", {"cluster": True}),
            ("address", {"address": "rediss://:Sec/ret@host:6379"}),
            ("address", {"address": "redis://:12/ret@host"}),
            ("address", {"address": "http://host:6379"}),
            ("address", {"address": "node-1:6379,", "cluster": True}),
            ("db", {"address": "node-1:6379", "cluster": True, "db": 1}),
        ],
    )
    def test_what_makes_no_redis_is_a_fault(self, key: str, redis: dict[str, object]) -> None:
        with pytest.raises(ConfigurationError, match=rf"redis\.{key}"):
            Settings.from_mapping({"redis": redis})

    def test_python_values_are_taken_as_they_are(self, tmp_path: Path) -> None:
        settings = Settings.from_mapping(
            {"data_folder": tmp_path, "jwt": {"ttl": timedelta(hours=1)}, "server": {"documentation": False}}
        )

        assert (settings.data_folder, settings.jwt.ttl) == (tmp_path, timedelta(hours=1))
        assert settings.server.documentation is False


class TestEnvironment:
    def test_names_in_braces_are_taken_from_it(self, tmp_path: Path) -> None:
        path = a_file(tmp_path, "redis: {address: '${HOST}:${PORT:-6379}'}")

        assert Settings.from_file(path, environ={"HOST": "cache"}).redis.address == Secret("cache:6379")

    def test_two_dollars_keep_the_braces(self, tmp_path: Path) -> None:
        path = a_file(tmp_path, "redis: {password: 'a$$${HOME}'}")

        assert Settings.from_file(path, environ={}).redis.password == Secret("a$${HOME}")

    def test_a_providers_key_that_is_not_set_is_no_key(self, tmp_path: Path) -> None:
        provider = "{name: x, base_url: 'https://x.example/v1', models: [x], api_key: '${SOME_PROVIDERS_KEY}'}"
        text = f"llm: {{providers: [{provider}]}}"

        assert Settings.from_file(a_file(tmp_path, text), environ={}).llm.providers[0].api_key is None

    @pytest.mark.parametrize(
        ("written", "key", "lacks_key"),
        [
            ("api_key: '${EMBEDDING_KEY}'", Secret("sk-2"), False),
            ("api_key: '${SOME_KEY}'", Secret(""), True),
            ("api_key: '${SOME_KEY:-}'", None, False),
            ("api_key: null", None, False),
            ("batch: 8", None, False),
        ],
    )
    def test_an_embedding_models_key_that_is_not_set_is_missed(
        self, tmp_path: Path, written: str, key: Secret | None, lacks_key: bool
    ) -> None:
        model = f"{{name: x, base_url: 'https://x.example/v1', model: x, dimensions: 8, {written}}}"
        path = a_file(tmp_path, f"rag: {{embedding_models: [{model}]}}")

        (found,) = Settings.from_file(path, environ={"EMBEDDING_KEY": "sk-2"}).rag.embedding_models

        assert (found.api_key, found.lacks_key) == (key, lacks_key)

    def test_any_other_that_is_not_set_is_a_fault(self, tmp_path: Path) -> None:
        found = faults_of("jwt:\n  secret: ${SIGNING_SECRET}\n", tmp_path)

        assert found == {"jwt.secret": "line 2: the environment variable SIGNING_SECRET is not set"}

    def test_it_overrides_what_the_file_says(self, tmp_path: Path) -> None:
        settings = Settings.from_file(
            a_file(tmp_path, "server: {port: 9000, host: '::1'}\nlog:\n"),
            environ={
                "LLM_BACKEND__SERVER__PORT": "8081",
                "LLM_BACKEND__DATA_FOLDER": str(tmp_path),
                "LLM_BACKEND__LOG__LEVEL": "debug",
                "LLM_BACKEND__LIMITS__UPLOAD": "null",
                "LLM_BACKEND__SERVER__CORS_ORIGINS": "[https://a.example, https://b.example]",
                "LLM_BACKEND__LLM__PROVIDERS__0__API_KEY": "sk-1",
            },
        )

        assert settings.server.port == 8081
        assert settings.server.host == "::1"
        assert settings.data_folder == tmp_path
        assert settings.log.level == "debug"
        assert settings.limits.upload is None
        assert settings.server.cors_origins == ("https://a.example", "https://b.example")
        assert settings.llm.providers[0].api_key == Secret("sk-1")

    def test_its_faults_name_the_variable(self, tmp_path: Path) -> None:
        found = faults_of(
            "{}",
            tmp_path,
            LLM_BACKEND__SERVER__PORT="many",
            LLM_BACKEND__SEVER__HOST="x",
            LLM_BACKEND__LLM__PROVIDERS__9__NAME="x",
        )

        assert found["server.port"].startswith("LLM_BACKEND__SERVER__PORT: must be a port")
        assert found["sever"] == "LLM_BACKEND__SEVER__HOST: unknown key; did you mean 'server'?"
        assert found["llm.providers.9.name"].startswith("LLM_BACKEND__LLM__PROVIDERS__9__NAME: there is nothing")


class TestFaults:
    def test_all_are_listed_with_path_and_line(self, tmp_path: Path) -> None:
        found = faults_of(FULL_OF_FAULTS, tmp_path)

        assert {path: said.partition(":")[0] for path, said in found.items()} == {
            "servr": "line 1",
            "server.port": "line 4",
            "llm.providers[0].base_url": "line 8",
            "llm.providers[1].name": "line 10",
            "llm.providers[1].modles": "line 11",
            "llm.timeouts.idle": "line 13",
            "jwt.secret": "line 15",
            "limits.upload": "line 17",
        }
        assert "did you mean 'models'?" in found["llm.providers[1].modles"]

    def test_the_message_has_a_line_for_each_and_no_secret(self, tmp_path: Path) -> None:
        path = a_file(tmp_path, "jwt: {secret: tell-nobody}\nserver: {port: many}\n")

        with pytest.raises(ConfigurationError) as caught:
            Settings.from_file(path, environ={})

        first, *others = str(caught.value).splitlines()
        assert first == f"{path} cannot be used, 2 faults:"
        assert [line.split(": ")[1] for line in others] == ["server.port", "jwt.secret"]
        assert "tell-nobody" not in str(caught.value)

    def test_an_answer_longer_than_any_can_be_is_one(self, tmp_path: Path) -> None:
        found = faults_of("llm:\n  longest_answer: 4194305\n", tmp_path)

        assert list(found) == ["llm.longest_answer"]
        assert "line 2: must be at most 4MiB" in found["llm.longest_answer"]
        assert Settings.from_file(a_file(tmp_path, "llm: {longest_answer: 4MiB}"), environ={}) == Settings()

    @pytest.mark.parametrize(
        ("text", "where"),
        [
            ("server: {port", "line 1"),
            ("a: b: c", "line 1"),
            ("server:\n\tport: 1", "line 2"),
            ("a: 1\n---\nb: 2", "line 2"),
        ],
    )
    def test_what_is_no_yaml_is_told_with_its_line(self, text: str, where: str, tmp_path: Path) -> None:
        assert faults_of(text, tmp_path)[""].startswith(f"{where}: ")

    def test_a_key_that_stands_twice_is_a_fault(self, tmp_path: Path) -> None:
        assert faults_of("log: {}\nserver:\n  port: 1\n  port: 2\n", tmp_path) == {
            "port": "line 4: stands twice in the same mapping"
        }

    @pytest.mark.parametrize(
        ("fallbacks", "message"),
        [
            (["nobody-knows-it"], "which no provider serves"),
            (["a-2"], "which is served by 'a' itself"),
            (["b-1"], "which is served by 'a' itself"),
            (["c", "c"], "more than once"),
        ],
    )
    def test_a_fallback_that_cannot_stand_in_is_one(self, fallbacks: list[str], message: str) -> None:
        shared = {"kind": "demo", "models": ["a-*", "b-*"], "weight": 1}
        providers = [
            {"name": "a", "fallbacks": fallbacks, **shared},
            {"name": "b", **shared},
            {"name": "c", "kind": "demo", "models": ["c"], "fallbacks": ["a-1"]},
        ]

        with pytest.raises(ConfigurationError) as caught:
            Settings.from_mapping({"llm": {"providers": providers}}, environ={})

        (fault,) = caught.value.faults
        assert fault.path == "llm.providers[0].fallbacks"
        assert message in fault.message

    def test_providers_may_stand_in_for_each_other(self) -> None:
        providers = [
            {"name": "a", "kind": "demo", "models": ["a"], "fallbacks": ["b"]},
            {"name": "b", "kind": "demo", "models": ["b"], "fallbacks": ["a"]},
        ]

        read = Settings.from_mapping({"llm": {"providers": providers}}, environ={}).llm.providers

        assert [provider.fallbacks for provider in read] == [("b",), ("a",)]

    @pytest.mark.parametrize("text", ["just words", "[1, 2]", "server: 8080", "llm: {providers: {}}", "a: &a [*a]"])
    def test_a_wrong_shape_is_a_fault(self, text: str, tmp_path: Path) -> None:
        assert faults_of(text, tmp_path)

    def test_a_missing_file_and_one_in_another_encoding_are_faults(self, tmp_path: Path) -> None:
        foreign = tmp_path / "foreign.yaml"
        foreign.write_bytes("server: {host: 主机}".encode("utf-16"))

        for path in (tmp_path / "missing.yaml", tmp_path, foreign):
            with pytest.raises(ConfigurationError, match=str(path)):
                Settings.from_file(path, environ={})

    @pytest.mark.parametrize(
        "mapping",
        [
            {"llm": {"providers": [{"name": "a", "kind": "demo", "models": ["a"]}] * 2}},
            {"rag": {"default_embedding_model": "nobody-knows-it"}},
            {
                "rag": {
                    "embedding_models": [{"name": "hash-1024", "base_url": "http://x", "model": "x", "dimensions": 3}]
                }
            },
            {"rag": {"parsing": {"processes": 0}}},
            {"database": {"url": "mysql://x"}},
            {"database": {"url": "postgresql+asyncpg://user:password@host"}},
            {"database": {"url": "postgresql+asyncpg://user:password@host:port/name"}},
            {"database": {"pool_max": 2}},
            {"database": {"pool_min": 4, "pool_max": 3}},
            {"database": {"pool_min": -1}},
            {"database": {"lock_timeout": 0}},
            {"server": {"cors_origins": ["example.org"]}},
            {"server": {"framing": "html"}},
            {"server": {"keep_alive": 0}},
            {"jwt": {"ttl": 0}},
            {"jwt": {"previous": ["S3cureK3y#2024!AIsafety"]}},
            {"jwt": {"previous": [A_SECRET, "short"]}},
            {"secrets_keys": ["6e" * 31]},
            {"secrets_keys": ["6e" * 32, "zz" * 32]},
            {"secrets_keys": ["6e" * 32], "secrets_key_file": "keys"},
            {"llm": {"providers": [{"name": "a", "models": []}]}},
            {"llm": {"providers": [{"name": "a", "models": ["a"], "base_url": "https://user:pass@host/"}]}},
            {"llm": {"providers": [{"name": "a", "kind": "demo", "models": ["a"], "context_window": 5}]}},
            {"llm": {"providers": [{"name": "a", "kind": "demo", "models": ["a"], "weight": 0}]}},
            {"llm": {"providers": [{"name": "a", "kind": "demo", "models": ["a"], "weight": -1}]}},
            {"llm": {"breaker": {"failures": 0}}},
        ],
    )
    def test_what_cannot_work_is_refused(self, mapping: dict[str, object]) -> None:
        with pytest.raises(ConfigurationError):
            Settings.from_mapping(mapping, environ={})

    @pytest.mark.parametrize(
        "key",
        [
            "server.header_timeout",
            "server.body_timeout",
            "answers.checkpoint_interval",
            "llm.timeouts.connect",
            "llm.timeouts.first_token",
            "llm.timeouts.idle",
            "llm.timeouts.total",
            "rag.parsing.memory",
            "rag.parsing.cpu",
            "rag.parsing.time",
            "rag.parsing.text",
        ],
    )
    def test_what_would_be_over_before_it_begins_is_refused(self, key: str, tmp_path: Path) -> None:
        file = a_file(tmp_path, "")

        with pytest.raises(ConfigurationError, match=rf"{key}: must be (longer|more) than zero"):
            Settings.from_file(file, environ={f"LLM_BACKEND__{key.upper().replace('.', '__')}": "0"})

    @pytest.mark.parametrize("proxy", ["proxy.example.org", "10.0.0.1/8", "10.0.0.1:80", "unix:", "*"])
    def test_a_proxy_that_nobody_can_be_is_refused(self, proxy: str) -> None:
        with pytest.raises(ConfigurationError, match=r"server\.trusted_proxies\[1\]: must be an address"):
            Settings.from_mapping({"server": {"trusted_proxies": ["127.0.0.1", proxy]}}, environ={})

    @pytest.mark.parametrize(
        "proxies", [["127.0.0.1", "::1"], ["10.0.0.0/8", "fd00::/8"], ["fe80::1%eth0"], ["*"], ["10.0.0.1", ""]]
    )
    def test_proxies_are_addresses_or_networks_or_everybody(self, proxies: list[str]) -> None:
        settings = Settings.from_mapping({"server": {"trusted_proxies": proxies}}, environ={})

        assert settings.server.trusted_proxies == tuple(proxies)

    @pytest.mark.parametrize("host", ["", " "])
    def test_an_empty_host_is_not_every_address(self, host: str) -> None:
        with pytest.raises(ConfigurationError, match=r"server\.host: must name an address"):
            Settings.from_mapping({"server": {"host": host}}, environ={})

    @pytest.mark.parametrize("path", [":memory:", "./:memory:"])
    def test_a_database_in_memory_is_none(self, path: str, tmp_path: Path) -> None:
        assert faults_of(f"sqlite: {{path: '{path}'}}", tmp_path)["sqlite.path"].startswith("line 1: must be a file")

    @pytest.mark.parametrize(
        ("key", "text"),
        [
            ("data_folder", 'data_folder: "{}"'),
            ("originals_uri", 'originals_uri: "{}"'),
            ("jwt.secret", 'jwt: {{secret: "{}and-all-the-rest-of-a-secret-that-is-long"}}'),
            ("jwt.previous[1]", 'jwt: {{previous: [not-published-and-longer-than-32-bytes, "{}"]}}'),
            ("llm.aliases", 'llm: {{aliases: {{"{}": demo}}}}'),
            ("llm.aliases.fast", 'llm: {{aliases: {{fast: "{}"}}}}'),
        ],
    )
    @pytest.mark.parametrize("part", [r"a\0b", r"\ud83d", r"\ud83d\ude00"])
    def test_text_that_nothing_takes_is_refused_by_its_key(
        self, key: str, text: str, part: str, tmp_path: Path
    ) -> None:
        found = faults_of(text.format(part), tmp_path)

        assert list(found) == [key]
        assert "line 1" in found[key]
        assert "must not contain" in found[key]

    def test_text_that_nothing_takes_is_refused_from_the_environment_as_well(self, tmp_path: Path) -> None:
        environ = {"LLM_BACKEND__DATA_FOLDER": os.fsdecode(b"not-utf-8-\xff"), "NAME": "\udcff"}
        file = a_file(tmp_path, "server: {host: '${NAME}'}")

        with pytest.raises(ConfigurationError, match="2 faults") as caught:
            Settings.from_file(file, environ=environ)

        assert [fault.path for fault in caught.value.faults] == ["data_folder", "server.host"]

    def test_what_cannot_be_an_object_store_is_refused(self, tmp_path: Path) -> None:
        found = faults_of(
            "object_storage: {endpoint: 'http://127.0.0.1:9000', access_key: x}\n"
            "rag: {lancedb_uri: 's3://ab', kept_versions: 1s}\n",
            tmp_path,
        )

        assert list(found) == [
            "object_storage.endpoint",
            "object_storage.secret_key",
            "rag.lancedb_uri",
            "rag.kept_versions",
        ]

    def test_an_object_store_takes_its_keys_from_the_environment(self, tmp_path: Path) -> None:
        text = "object_storage: {access_key: '${AWS_ACCESS_KEY_ID}', secret_key: '${AWS_SECRET_ACCESS_KEY}'}"
        environ = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "tell-nobody"}

        settings = Settings.from_file(a_file(tmp_path, text), environ=environ)

        assert settings.object_storage == ObjectStorage(access_key=Secret("me"), secret_key=Secret("tell-nobody"))
        assert "tell-nobody" not in repr(settings)
        assert Settings.from_file(a_file(tmp_path, text), environ={}).object_storage == ObjectStorage()


class TestPlainPython:
    @pytest.mark.parametrize(
        ("section", "key", "value", "kind"),
        [
            (Settings, "data_folder", "x", "Path, not str"),
            (Settings, "secrets_keys", "6e" * 32, "tuple, not str"),
            (Settings, "server", {"port": 1}, "Server, not dict"),
            (Jwt, "secret", "hush" * 10, "Secret, not str"),
            (Rag, "lancedb_uri", Path("x"), "str, not .*Path"),
            (Server, "shutdown_grace", 5, "timedelta, not int"),
            (Server, "port", "8080", "int, not str"),
            (Server, "documentation", 1, "bool, not int"),
            (Llm, "retries", True, "int, not bool"),
            (Limits, "login_failures", "10/15m", "RateLimit, not str"),
        ],
    )
    def test_a_value_of_another_type_is_refused_by_its_key(
        self, section: type[Struct], key: str, value: object, kind: str
    ) -> None:
        with pytest.raises(ConfigurationError, match=rf"{key}: must be of the type {kind}$") as caught:
            section(**{key: value})

        assert "hush" not in str(caught.value)

    def test_so_is_one_within_a_list_or_a_choice(self) -> None:
        keys: Any = ("tell-nobody",)
        framing: Any = "html"

        with pytest.raises(ConfigurationError, match=r"secrets_keys\[0\]: must be of the type Secret, not str$"):
            Settings(secrets_keys=keys)
        with pytest.raises(ConfigurationError, match="framing: must be one of auto, plain, sse"):
            Server(framing=framing)
        with pytest.raises(ConfigurationError, match=r"api_key: must be of the type Secret, not str$"):
            Provider(name="a", kind="demo", models=("a",), api_key=keys[0])

    def test_so_is_text_that_nothing_takes(self) -> None:
        with pytest.raises(ConfigurationError, match="data_folder: must not contain the character NUL"):
            Settings(data_folder=Path("a\0b"))

    def test_a_list_and_a_whole_number_will_do(self) -> None:
        origins: Any = ["https://chat.example.org"]

        assert Server(cors_origins=origins).cors_origins == origins
        assert Rag(threshold=1).threshold == 1


class TestSecrets:
    @pytest.mark.parametrize("secret", ["S3cureK3y#2024!AIsafety", "x" * 31, "密" * 10])
    def test_a_python_programmer_cannot_sign_with_a_known_or_short_one_either(self, secret: str) -> None:
        with pytest.raises(ConfigurationError, match="token_urlsafe"):
            Jwt(secret=Secret(secret))

    def test_none_shows_in_the_repr(self) -> None:
        settings = Settings(
            redis=Redis(password=Secret("hush-1")),
            database=Database(url=Secret("postgresql+asyncpg://me:hush-2@host/name")),
            jwt=Jwt(secret=Secret("hush-3" * 10), previous=(Secret("hush-5" * 10),)),
            secrets_keys=(Secret("6e" * 32),),
        )
        provider = Provider(name="x", base_url="https://x.example", models=("x",), api_key=Secret("hush-4"))

        assert "hush" not in f"{settings} {provider!r}"
        assert "6e6e" not in f"{settings}"

    def test_a_wrong_key_is_named_by_its_place_and_not_shown(self) -> None:
        with pytest.raises(ConfigurationError, match=r"secrets_keys\[1\]: must have 64 hexadecimal digits") as caught:
            Settings.from_mapping({"secrets_keys": ["6e" * 32, "tell-nobody"]}, environ={})

        assert "tell-nobody" not in str(caught.value)
