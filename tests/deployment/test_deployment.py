"""What is in deploy/, and the two files for containers beside it: checked as far as that goes without an engine.

No image is built and no container started here. Dockerfile, compose.yaml and the manifests go through the rules of
their formats, and what they say about this program is held against this program.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import compose_spec
import kubernetes_validate
import pytest
import yaml

from llm_backend.cli import _parser
from llm_backend.config import Settings
from llm_backend.interface.http.health import alive, ready

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()
KUBERNETES = [*yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())]
GRACE = Settings().server.shutdown_grace
PRE_STOP = timedelta(seconds=5)
SECRETS = {
    "DATABASE_URL": "postgresql+asyncpg://me:hush@postgres/name",
    "REDIS_ADDRESS": "rediss://:hush@redis:6379",
    "JWT_SECRET": "6e" * 32,
    "SECRETS_KEY": "6f" * 32,
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "hush",
}


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
    return loaded


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for document in KUBERNETES if document["kind"] == kind]


def pods() -> Iterator[dict[str, Any]]:
    return (deployment["spec"]["template"] for deployment in of_kind("Deployment"))


def seconds(text: str) -> timedelta:
    assert text.endswith("s")
    return timedelta(seconds=int(text[:-1]))


def keeps_nothing_on_its_disk(settings: Settings) -> bool:
    return all((place or "").startswith("s3://") for place in (settings.originals_uri, settings.rag.lancedb_uri))


def commands() -> Iterator[list[str]]:
    """What servers and workers are started with, except for the command of the image."""
    yield from (
        service["command"]
        for service in compose()["services"].values()
        if service["image"] == "llm-backend" and "command" in service
    )
    yield from (container["args"] for pod in pods() for container in pod["spec"]["containers"])


def test_servers_leave_jobs_to_workers_and_these_are_told_to_do_some() -> None:
    given = [_parser().parse_args(command) for command in commands()]

    at_once = [command.concurrency for command in given if "concurrency" in command]
    assert at_once == [4, 4]
    assert len(given) == 5
    for config in ((DEPLOY / "scaled.yaml").read_text(), of_kind("ConfigMap")[0]["data"]["config.yaml"]):
        assert yaml.safe_load(config)["jobs"] == {"concurrency": 0}


# The image


def test_the_dockerfile_passes_its_linter() -> None:
    linter = Path(sys.executable).with_name("hadolint")  # the lock brings it

    done = subprocess.run(
        [linter, "--failure-threshold", "info", "-"], input=DOCKERFILE, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_as_nobody_special_and_says_how_it_is() -> None:
    *_, last_stage = DOCKERFILE.split("\nFROM ")

    assert "\nUSER 10001:10001\n" in last_stage
    assert re.search(r"^HEALTHCHECK .*\\\n.*/healthz", last_stage, re.MULTILINE)
    assert 'ENTRYPOINT ["llm-backend"]' in last_stage


def test_the_image_takes_nothing_that_is_not_locked() -> None:
    installations = re.findall(r"pip install ([^&\n]*)", DOCKERFILE)

    assert installations
    assert all("--require-hashes" in one or "--no-deps --no-build-isolation" in one for one in installations)


def test_everything_that_is_copied_into_the_image_gets_into_its_context() -> None:
    let_in = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [name for line in re.findall(r"^COPY ([^-].*)", DOCKERFILE, re.MULTILINE) for name in line.split()[:-1]]

    assert set(copied) == let_in
    assert all((REPOSITORY / name).exists() for name in copied)


# Compose


def test_the_compose_file_keeps_to_the_specification() -> None:
    without_aliases = yaml.safe_dump(compose())  # the checker does not know YAML's merge key

    checked = compose_spec.PyCompose.from_yaml(without_aliases)

    checked.validate()


def test_every_service_belongs_to_a_profile_and_the_embedded_one_is_alone() -> None:
    services = compose()["services"]

    profiles = {name: service["profiles"] for name, service in services.items()}
    assert all(len(chosen) == 1 for chosen in profiles.values())
    assert [name for name, chosen in profiles.items() if chosen == ["embedded"]] == ["server"]
    needed = {other for service in services.values() for other in service.get("depends_on", {})}
    assert all(profiles[name] == ["scaled"] for name in needed)


def test_containers_are_given_more_time_than_running_answers() -> None:
    ours = [service for service in compose()["services"].values() if service["image"] == "llm-backend"]

    assert len(ours) == 4
    assert all(seconds(service["stop_grace_period"]) > GRACE for service in ours)
    assert all(service["read_only"] and service["cap_drop"] == ["ALL"] for service in ours)


def test_nothing_listens_beyond_this_machine() -> None:
    published = [port for service in compose()["services"].values() for port in service.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_what_is_mounted_is_there() -> None:
    mounts = [mount for service in compose()["services"].values() for mount in service.get("volumes", [])]
    files = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]

    assert files
    assert all((REPOSITORY / name).is_file() for name in files)


def test_every_variable_of_the_compose_file_is_written_by_the_script(tmp_path: Path) -> None:
    subprocess.run([str(DEPLOY / "make-env.sh")], cwd=tmp_path, check=True)

    written = dict(line.split("=") for line in (tmp_path / ".env").read_text().splitlines())
    wanted = set(re.findall(r"\$\{([A-Z0-9_]+)", (REPOSITORY / "compose.yaml").read_text()))
    assert wanted == set(written)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0
    assert len({value for value in written.values() if value}) == 5


def test_the_script_leaves_the_secrets_that_are_there(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("JWT_SECRET=kept")

    done = subprocess.run([str(DEPLOY / "make-env.sh")], cwd=tmp_path, check=False, capture_output=True)

    assert done.returncode == 1
    assert (tmp_path / ".env").read_text() == "JWT_SECRET=kept"


def test_the_replicas_of_the_compose_file_have_a_configuration_that_can_be_used() -> None:
    given = compose()["services"]["replica-1"]["environment"]

    settings = Settings.from_file(DEPLOY / "scaled.yaml", environ={**given, **SECRETS})

    assert given.keys() >= SECRETS.keys() - {"REDIS_ADDRESS"}
    (network,) = compose()["networks"]["inside"]["ipam"]["config"]
    assert settings.server.trusted_proxies == (network["subnet"],)
    assert settings.server.host == "0.0.0.0"
    assert settings.object_storage.endpoint == given["AWS_ENDPOINT"]
    assert keeps_nothing_on_its_disk(settings)


# Kubernetes


@pytest.mark.parametrize(
    "document", KUBERNETES, ids=lambda document: f"{document['kind']}-{document['metadata']['name']}"
)
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_the_manifests_keep_to_the_schemas_of_kubernetes(document: Mapping[str, Any], version: str) -> None:
    kubernetes_validate.validate(dict(document), version, strict=True)


def test_everybody_who_selects_finds_somebody() -> None:
    labels = [pod["metadata"]["labels"] for pod in pods()]
    selectors = [document["spec"]["selector"] for document in (*of_kind("Deployment"), *of_kind("PodDisruptionBudget"))]
    chosen = [selector["matchLabels"] for selector in selectors]
    chosen += [service["spec"]["selector"] for service in of_kind("Service")]

    for wanted in chosen:
        assert sum(wanted.items() <= found.items() for found in labels) == 1


def test_pods_are_locked_down() -> None:
    for pod in pods():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"]
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}


def test_probes_ask_what_the_server_answers() -> None:
    (server,) = [pod for pod in pods() if "component: server" in yaml.safe_dump(pod["metadata"])]
    (container,) = server["spec"]["containers"]

    paths = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}

    assert alive.paths == {"/healthz"} == {paths["startupProbe"], paths["livenessProbe"]}
    assert ready.paths == {"/readyz"} == {paths["readinessProbe"]}


def test_pods_are_given_more_time_than_running_answers() -> None:
    for pod in pods():
        given = timedelta(seconds=pod["spec"]["terminationGracePeriodSeconds"])

        assert given > GRACE + PRE_STOP


def test_a_pod_may_leave_while_the_other_serves() -> None:
    (budget,) = of_kind("PodDisruptionBudget")
    (server,) = [one for one in of_kind("Deployment") if one["metadata"]["name"] == "llm-backend"]

    assert budget["spec"]["minAvailable"] < server["spec"]["replicas"]


def test_the_configuration_of_the_manifests_can_be_used(tmp_path: Path) -> None:
    (config,) = of_kind("ConfigMap")
    file = tmp_path / "config.yaml"
    file.write_text(config["data"]["config.yaml"])

    settings = Settings.from_file(file, environ=SECRETS)

    assert settings.server.shutdown_grace == GRACE
    assert keeps_nothing_on_its_disk(settings)


def test_the_manifests_hold_no_secrets() -> None:
    assert of_kind("Secret") == []
    for pod in pods():
        assert all("env" not in container for container in pod["spec"]["containers"])


# The page


def test_the_page_names_only_what_is_there() -> None:
    page = (REPOSITORY / "docs" / "production.md").read_text()
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", page) if "://" not in link]

    assert links
    assert [link for link in links if not (REPOSITORY / "docs" / link).exists()] == []
