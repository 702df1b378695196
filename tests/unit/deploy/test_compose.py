"""docker-compose.yml, as far as it can be checked without a Docker engine."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedder_assets.run import DAGSTER_CONFIG
from tests.conftest import PROJECT

FILE = PROJECT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCS = (PROJECT / "docs" / "how-to" / "docker-compose.md").read_text("utf-8")
PINNED = re.compile(r"[\w./-]+:v?\d[\w.-]*\.[\w.-]+$")
MONITORING = PROJECT / "monitoring"
# Builds the models and ends.
ONCE = {"models"}


def conforms(file: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*command, str(file)], capture_output=True, text=True)


def binds() -> Iterator[tuple[str, Path]]:
    """Every path of this project that a service mounts."""
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            source = volume["source"] if isinstance(volume, dict) else volume.split(":")[0]
            source = re.sub(r"^\$\{CORPUS:-(.*)\}$", r"\1", source)
            if source.startswith("."):
                yield name, PROJECT / source


def dockerfiles() -> list[Path]:
    return sorted((PROJECT / "docker").glob("*.Dockerfile"))


def test_it_conforms_to_the_compose_specification() -> None:
    done = conforms(FILE)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("right", "wrong"), [("  image: postgres", "  imagine: postgres"), ("retries: 24", "retries: []")]
)
def test_the_check_of_the_form_finds_mistakes(right: str, wrong: str, tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text(FILE.read_text("utf-8").replace(right, wrong), "utf-8")
    assert conforms(broken).returncode == 1


def test_every_image_is_pinned() -> None:
    images = [service["image"] for service in SERVICES.values()]
    for file in dockerfiles():
        images += re.findall(r"^FROM (\S+)", file.read_text("utf-8"), re.MULTILINE)
    assert [image for image in images if not PINNED.fullmatch(image)] == []


def test_nothing_is_published_beyond_this_machine() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) >= 8
    assert [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)] == []
    for profile in ("cpu", "gpu"):
        active = [name for name in SERVICES if profile in SERVICES[name].get("profiles", [profile])]
        taken = [port for name in active for port in _ports(name)]
        assert len(taken) == len(set(taken))


def _ports(name: str) -> list[str]:
    return [port.split(":")[1] for port in SERVICES[name].get("ports", [])]


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - ONCE))
def test_long_running_services_have_healthcheck_and_restart(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"].keys() >= {"test", "interval", "timeout", "retries"}
    assert service["restart"] == "unless-stopped"
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_services_run_unprivileged_and_read_only(name: str) -> None:
    service = SERVICES[name]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["cap_drop"] == ["ALL"]
    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]
    assert service.keys() & {"cap_add", "privileged", "pid", "ipc", "network_mode", "devices"} == set()
    assert [place for place in mounts(service) if place.startswith(("/var/run/docker", "/run/docker"))] == []
    assert service.get("user") not in ("root", "0", 0)


def mounts(service: dict[str, Any]) -> Iterator[str]:
    for volume in service.get("volumes", []):
        yield volume["target"] if isinstance(volume, dict) else volume.split(":")[1]


def test_host_mounts_are_read_only() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            read_only = volume.get("read_only") if isinstance(volume, dict) else volume.endswith(":ro")
            assert read_only or volume.split(":")[0] in COMPOSE["volumes"]


def test_postgres_writes_only_to_its_volumes() -> None:
    assert SERVICES["postgres"]["user"] == "postgres"
    assert "/var/run/postgresql" in SERVICES["postgres"]["tmpfs"]
    assert "/var/lib/postgresql/data" in mounts(SERVICES["postgres"])


@pytest.mark.parametrize("file", dockerfiles(), ids=lambda file: file.name)
def test_an_image_runs_as_a_user_without_rights(file: Path) -> None:
    users = re.findall(r"^USER (\S+)", file.read_text("utf-8"), re.MULTILINE)
    assert users
    assert users[-1].split(":")[0] not in ("root", "0")


def test_what_runs_once_is_not_started_again() -> None:
    assert {name for name, service in SERVICES.items() if service["restart"] == "no"} == ONCE


def test_services_depend_on_existing_conditions() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            finished = other in ONCE
            assert how["condition"] == ("service_completed_successfully" if finished else "service_healthy")
            # One that may be switched off must not stop the others.
            optional = "profiles" in SERVICES[other]
            assert how.get("required", True) is not optional, f"{name} on {other}"


def test_used_volumes_and_secrets_are_declared() -> None:
    volumes = {
        volume.split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if isinstance(volume, str) and not volume.startswith(".")
    }
    assert volumes == COMPOSE["volumes"].keys()
    secrets = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert secrets == COMPOSE["secrets"].keys()


def test_mounted_and_build_paths_exist() -> None:
    mounted = {path for _, path in binds() if MONITORING not in path.parents}
    assert {path for path in mounted if not path.exists()} == set()
    built = [service["build"] for service in SERVICES.values() if "build" in service]
    assert {PROJECT / build["context"] / build["dockerfile"] for build in built} == set(dockerfiles())
    ignored = (PROJECT / ".dockerignore").read_text("utf-8").splitlines()
    for file in dockerfiles():
        for line in re.findall(r"^COPY (?!--from)(?:--\S+ )?(.*)$", file.read_text("utf-8"), re.MULTILINE):
            for source in line.split()[:-1]:
                assert (PROJECT / source).exists(), f"{file.name} copies {source}"
                assert any(source == kept or source.startswith(f"{kept}/") for kept in _kept(ignored)), source


def test_monitoring_matches_the_one_without_docker() -> None:
    mounted = {path for _, path in binds() if MONITORING in path.parents}
    assert len(mounted) >= 4
    assert {path for path in mounted if not path.exists()} == set()
    files = (PROJECT / "docker" / "prometheus.yml", MONITORING / "prometheus" / "prometheus.yml")
    ours, theirs = ({job["job_name"] for job in yaml.safe_load(file.read_text())["scrape_configs"]} for file in files)
    assert ours >= theirs


def _kept(ignored: list[str]) -> list[str]:
    return [line[1:] for line in ignored if line.startswith("!")]


def test_secrets_are_files_that_git_ignores(tmp_path: Path) -> None:
    files = [secret["file"] for secret in COMPOSE["secrets"].values()]
    assert len(files) == 3
    for file in files:
        ignored = subprocess.run(["git", "check-ignore", "--quiet", file], cwd=PROJECT)
        assert ignored.returncode == 0, f"git would take {file}"
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN", name):
                assert value.removeprefix("/run/secrets/") in service["secrets"], name


def test_the_script_makes_every_secret_once(tmp_path: Path) -> None:
    script = tmp_path / "make-secrets.sh"
    script.write_text((PROJECT / "docker" / "make-secrets.sh").read_text("utf-8"), "utf-8")
    made = []
    for _ in range(2):
        subprocess.run(["sh", str(script)], check=True)
        made.append({file.name: file.read_text("utf-8") for file in (tmp_path / "secrets").iterdir()})
    assert made[0] == made[1]
    assert {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()} == made[0].keys()
    assert {len(value.strip()) for value in made[0].values()} == {48}
    assert len(set(made[0].values())) == 3
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700


def test_documented_profiles_exist() -> None:
    profiles = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert profiles == {"triton": ["cpu"], "triton-gpu": ["gpu"]}
    assert set(re.findall(r"COMPOSE_PROFILES=(\w+)", DOCS)) == {"cpu", "gpu"}
    for name in profiles:
        assert "triton" in {name, *SERVICES[name]["networks"]["default"]["aliases"]}
    (device,) = SERVICES["triton-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert "deploy" not in SERVICES["triton"]


def test_every_service_and_port_is_in_the_docs() -> None:
    assert [name for name in SERVICES if f"`{name}`" not in DOCS] == []
    assert [port for name in SERVICES for port in _ports(name) if port not in DOCS] == []


def test_instance_is_a_local_home_on_postgres() -> None:
    shipped = yaml.safe_load((PROJECT / "docker" / "dagster.yaml").read_text("utf-8"))
    assert shipped.pop("storage").keys() == {"postgres"}
    assert shipped == yaml.safe_load(DAGSTER_CONFIG)


def test_password_reaches_the_environment_unchanged(tmp_path: Path) -> None:
    secret = tmp_path / "postgres_password"
    secret.write_text("quite $ecret 'words'\n", "utf-8")
    script = (PROJECT / "docker" / "with-secrets.sh").read_text("utf-8").replace("/run/secrets", str(tmp_path))
    said = subprocess.run(
        ["sh", "-c", script, "with-secrets", "printenv", "DAGSTER_POSTGRES_PASSWORD"], capture_output=True, text=True
    )
    assert said.stdout == "quite $ecret 'words'\n"
