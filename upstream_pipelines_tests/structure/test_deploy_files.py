"""deploy/: what is named there exists, and says the same as the project itself. No cluster is needed."""

from __future__ import annotations

import re
import tomllib
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import upstream_pipelines
from upstream_pipelines.cli.main import app
from upstream_pipelines.settings import Settings

ROOT = Path(upstream_pipelines.__file__).parent.parent
DEPLOY = ROOT / "deploy"
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file())
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "container/compose.yaml").read_text())
VALUES: dict[str, Any] = yaml.safe_load((DEPLOY / "kubernetes/values.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = list(yaml.safe_load_all((DEPLOY / "kubernetes/upstream.yaml").read_text()))
CONTAINERFILE = (DEPLOY / "container/Containerfile").read_text()
OWN: dict[str, Any] = yaml.safe_load((ROOT / "dagster.yaml").read_text())

# Names of values of Dagster's chart 1.13, as its schema has them; Helm passes over a key that it does not know in silence.
_CHART = {
    "": {"global", "generatePostgresqlPasswordSecret", "postgresql", "dagsterWebserver", "dagsterDaemon", "concurrency",
         "retention", "telemetry", "runLauncher", "dagster-user-deployments"},
    "global": {"postgresqlSecretName", "dagsterHome", "serviceAccountName", "celeryConfigSecretName"},
    "postgresql": {"enabled", "image", "postgresqlHost", "postgresqlUsername", "postgresqlPassword", "postgresqlDatabase",
                   "postgresqlScheme", "postgresqlParams", "service"},
    "dagsterWebserver": {"image", "service", "readinessProbe", "env", "envConfigMaps", "envSecrets", "podSecurityContext",
                         "securityContext", "resources", "replicaCount"},
    "dagsterDaemon": {"image", "env", "podSecurityContext", "securityContext", "runCoordinator", "runMonitoring", "sensors",
                      "schedules", "resources", "enabled", "heartbeatTolerance"},
    "dagsterDaemon.runCoordinator": {"enabled", "type", "config"},
    "dagsterDaemon.runCoordinator.config": {"queuedRunCoordinator", "customRunCoordinator"},
    "dagsterDaemon.sensors": {"useThreads", "numWorkers"},
    "dagsterDaemon.schedules": {"useThreads", "numWorkers"},
    "concurrency": {"enabled", "pools", "runs"},
    "concurrency.runs": {"maxConcurrentRuns", "tagConcurrencyLimits"},
    "retention": {"enabled", "sensor", "schedule", "autoMaterialize"},
    "telemetry": {"enabled"},
    "runLauncher": {"type", "config"},
    "runLauncher.config": {"celeryK8sRunLauncher", "k8sRunLauncher", "customRunLauncher"},
    "runLauncher.config.k8sRunLauncher": {"image", "imagePullPolicy", "jobNamespace", "loadInclusterConfig", "envSecrets"},
    "dagster-user-deployments": {"enabled", "enableSubchart", "imagePullSecrets", "deployments"},
}  # fmt: skip
_DEPLOYMENT = {
    "name", "image", "port", "dagsterApiGrpcArgs", "includeConfigInLaunchedRuns", "env", "envConfigMaps", "envSecrets",
    "podSecurityContext", "securityContext", "volumes", "volumeMounts", "resources",
}  # fmt: skip


def _strings(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (str(key), *_strings(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in _strings(inner)]
    return [str(value)]


def _snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key if key == "applyLimitPerUniqueValue" else re.sub("([A-Z])", r"_\1", key).lower(): _snake(inner)
            for key, inner in value.items()
        }
    return [_snake(inner) for inner in value] if isinstance(value, list) else value


def test_every_variable_is_a_setting() -> None:
    names = {f"UPSTREAM_{name.upper()}" for name in Settings.model_fields}
    # What dagster.yaml names is set by the platform itself.
    for path in (*FILES, ROOT / ".dockerignore"):
        used = set(re.findall(r"\bUPSTREAM_[A-Z_]+\b", path.read_text()))
        assert used <= names, path
    assert any("UPSTREAM_" in path.read_text() for path in FILES)


def test_every_command_is_one_of_the_upstream_command() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    run = [service.get("command") for service in COMPOSE["services"].values()]
    run += [
        container["command"]
        for manifest in MANIFESTS
        for container in manifest.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
    ]
    run.append(yaml.safe_load(CONTAINERFILE.split("CMD ")[1]))
    own = [command for command in run if command and command[0] == "upstream"]
    assert sorted(command[1] for command in own) == ["api", "migrate", "up", "up", "worker"]
    assert {command[1] for command in own} <= set(group.commands)
    for options in re.findall(r"exec platform upstream ([a-z]+)", (DEPLOY / "README.md").read_text()):
        assert options in group.commands


@pytest.mark.parametrize(
    "manifest", MANIFESTS, ids=lambda manifest: f"{manifest['kind']} {manifest['metadata']['name']}"
)
def test_manifests_are_what_kubernetes_takes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, desired_version="1.31", strict=True)


def test_the_values_are_those_of_the_chart() -> None:
    for path, known in _CHART.items():
        section = VALUES
        for part in path.split(".") if path else []:
            section = section[part]
        assert set(section) <= known, path
    for deployment in VALUES["dagster-user-deployments"]["deployments"]:
        assert set(deployment) <= _DEPLOYMENT
    # The chart wants all four.
    for kind in ("sensor", "schedule"):
        assert set(VALUES["retention"][kind]["purgeAfterDays"]) == {"skipped", "failure", "success", "started"}


def test_the_chart_is_given_the_limits_of_dagster_yaml() -> None:
    daemon = VALUES["dagsterDaemon"]
    assert daemon["runCoordinator"]["config"]["customRunCoordinator"] == OWN["run_coordinator"]
    assert _snake(VALUES["concurrency"]["runs"]) == OWN["concurrency"]["runs"]
    assert _snake(daemon["runMonitoring"]) == OWN["run_monitoring"]
    assert _snake(daemon["sensors"]) == OWN["sensors"]
    assert _snake(daemon["schedules"]) == OWN["schedules"]
    assert VALUES["telemetry"] == OWN["telemetry"]
    assert VALUES["postgresql"]["postgresqlScheme"] == OWN["storage"]["postgres"]["postgres_db"]["scheme"]
    for kind in ("sensor", "schedule"):
        purged = dict(VALUES["retention"][kind]["purgeAfterDays"])
        assert purged.pop("started") == -1
        assert purged == OWN["retention"][kind]["purge_after_days"]


def test_versions_are_those_that_the_project_allows_and_has_locked() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    python = re.search(r"ARG PYTHON=(\S+)", CONTAINERFILE)
    requires = re.search(r'requires-python = "(.+)"', project)
    version = re.search(r'^version = "(.+)"', project, re.MULTILINE)
    assert python
    assert requires
    assert version
    assert SpecifierSet(requires[1]).contains(python[1])
    images = {
        text for document in (COMPOSE, *MANIFESTS) for text in _strings(document) if "upstream-pipelines:" in text
    }
    assert (
        {image.rsplit(":", 1)[1] for image in images}
        == {version[1]}
        == {VALUES["dagsterWebserver"]["image"]["tag"]}
    )
    assert COMPOSE["services"]["database"]["image"].endswith(":18")
    lock = (ROOT / "requirements-deploy.lock").read_text()
    dagster = re.search(r"^dagster==(\S+)", lock, re.MULTILINE)
    assert dagster
    for path in (DEPLOY / "README.md", DEPLOY / "kubernetes/values.yaml"):
        assert re.findall(r"--version (\S+)", path.read_text()) == [dagster[1]], path
    for package in ("celery", "redis", "dagster-celery", "dagster-k8s"):
        assert re.search(rf"^{package}==", lock, re.MULTILINE), package


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("requirements.lock", ()),
        ("requirements-dev.lock", ("dev",)),
        ("requirements-deploy.lock", ("celery", "kubernetes", "telemetry")),
    ],
)
def test_a_lock_names_a_version_that_fits_for_every_package_that_is_asked_for(
    lock: str, extras: tuple[str, ...]
) -> None:
    # The locks are installed without resolving, so a package that is missing from one is missing where it is used.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *(line for extra in extras for line in project["optional-dependencies"][extra]),
    ]
    versions = re.findall(r"^([a-z0-9.-]+)(?:\[[^]]+\])?==([^ ;]+)", (ROOT / lock).read_text(), re.MULTILINE)
    pinned = {canonicalize_name(name): version for name, version in versions}
    unmet = [
        line
        for line in map(Requirement, asked)
        if pinned.get(canonicalize_name(line.name), "") not in line.specifier
    ]
    assert not unmet


def test_what_the_image_is_made_of_is_there_and_nothing_else_reaches_it() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", CONTAINERFILE, re.MULTILINE)
        for name in line.split()
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
    assert re.search(r"^USER \d+$", CONTAINERFILE, re.MULTILINE)


def test_only_the_proxy_is_reached_from_outside_and_it_asks_for_a_login_before_the_ui() -> None:
    services = COMPOSE["services"]
    assert [name for name, service in services.items() if "ports" in service] == ["proxy"]
    assert services["database"]["networks"] == services["redis"]["networks"] == ["inside"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    caddy = (DEPLOY / "container/Caddyfile").read_text()
    ui = caddy[caddy.index("{$UI_DOMAIN} {") : caddy.index("{$API_DOMAIN} {")]
    assert ui.index("basic_auth") < ui.index(f"reverse_proxy platform:{Settings().ui_port}")
    assert f"reverse_proxy platform:{Settings().api_port}" in caddy
    assert VALUES["dagsterWebserver"]["service"]["type"] == "ClusterIP"
    policy = next(manifest for manifest in MANIFESTS if manifest["kind"] == "NetworkPolicy")
    assert policy["spec"]["ingress"][0]["ports"][0]["port"] == VALUES["dagsterWebserver"]["service"]["port"]


def test_the_address_of_a_sender_is_that_which_the_proxy_says_and_requests_are_counted_once() -> None:
    """Most likely wrong: each sender is the proxy, and one stranger closes the log-in for all."""
    services, outside = COMPOSE["services"], COMPOSE["networks"]["outside"]["ipam"]["config"][0]
    proxy = services["proxy"]["networks"]["outside"]["ipv4_address"]
    assert services["platform"]["environment"]["FORWARDED_ALLOW_IPS"] == proxy
    # From no other network, so from no other address; and no container gets it by chance.
    assert set(services["proxy"]["networks"]) == {"outside"}
    assert ip_address(proxy) in ip_network(outside["subnet"])
    assert ip_address(proxy) not in ip_network(outside["ip_range"])
    caddy = (DEPLOY / "container/Caddyfile").read_text()
    assert "trusted_proxies" not in caddy
    assert "X-Forwarded-For" not in caddy
    assert "UPSTREAM_RATE_LIMIT_STORAGE" in services["platform"]["environment"]
    settings = next(manifest["data"] for manifest in MANIFESTS if manifest["kind"] == "ConfigMap")
    for believed in settings["FORWARDED_ALLOW_IPS"].split(","):
        assert ip_network(believed).prefixlen > 8
    (api,) = (manifest["spec"] for manifest in MANIFESTS if manifest["kind"] == "Deployment")
    assert {"configMapRef": {"name": "upstream-settings"}} in api["template"]["spec"]["containers"][0]["envFrom"]
    assert api["replicas"] == 1


def test_no_secret_is_in_any_of_them() -> None:
    for path in FILES:
        text = path.read_text()
        # A password in a URL, but for the places where one is to be written.
        assert re.findall(r"://[^:/\s]+:(?!PASSWORD@|\.\.\.@)[^@\s/]+@", text) == [], path
        assert not re.search(r"(?i)(password|secret|token)\w*[\"']?\s*[:=]\s*[\"']?[A-Za-z0-9+/]{12,}", text), path
    assert {manifest["kind"] for manifest in MANIFESTS}.isdisjoint({"Secret"})
    for service in COMPOSE["services"].values():
        for name, value in service.get("environment", {}).items():
            if re.search("PASSWORD|_URL$", name):
                assert value is None or value.startswith(("${", "https://${")), name
