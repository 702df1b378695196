"""deploy/kubernetes, as far as it can be checked without a cluster. It was never run on one."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml
from dagster._config import validate_config
from dagster_k8s import K8sRunLauncher

from embedder_assets.settings import FIELDS, load_settings
from tests.conftest import PROJECT

FOLDER = PROJECT / "deploy" / "kubernetes"
KUBERNETES = "1.34"
KUSTOMIZATION: dict[str, Any] = yaml.safe_load((FOLDER / "kustomization.yaml").read_text("utf-8"))
# Their schemas belong to operators and are not in any package; see docs/how-to/kubernetes.md.
OF_OPERATORS = {"ServiceMonitor"}
OBJECTS: list[dict[str, Any]] = [
    each
    for name in KUSTOMIZATION["resources"]
    if name.endswith(".yaml")
    for each in yaml.safe_load_all((FOLDER / name).read_text("utf-8"))
]
OWN = [each for each in OBJECTS if each["kind"] not in OF_OPERATORS]
VALUES: dict[str, Any] = yaml.safe_load((FOLDER / "dagster-values.yaml").read_text("utf-8"))
USER_CODE = VALUES["dagster-user-deployments"]["deployments"][0]
LAUNCHER = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
PINNED = re.compile(r"[\w./-]+:v?\d[\w.-]*\.[\w.-]+$")


def named(each: dict[str, Any]) -> str:
    return f"{each['kind']}-{each['metadata']['name']}"


def the(kind: str, name: str) -> dict[str, Any]:
    (found,) = [each for each in OBJECTS if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def pods() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The template of each pod of ours: its metadata and its specification."""
    for each in OBJECTS:
        template = each.get("spec", {}).get("template")
        if template:
            yield template["metadata"], template["spec"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def unprivileged(pod: dict[str, Any], container: dict[str, Any]) -> bool:
    return (
        pod["runAsNonRoot"] is True
        and pod["runAsUser"] > 0
        and pod["seccompProfile"] == {"type": "RuntimeDefault"}
        and container
        == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    )


@pytest.mark.parametrize("each", OWN, ids=named)
def test_every_object_conforms_to_the_schema_of_kubernetes(each: dict[str, Any]) -> None:
    kubernetes_validate.validate(each, KUBERNETES, strict=True)


@pytest.mark.parametrize("each", [each for each in OWN if each["kind"] == "Deployment"], ids=named)
def test_the_check_of_the_form_finds_mistakes(each: dict[str, Any]) -> None:
    for path, value in ((("spec", "replicass"), 1), (("spec", "template", "spec", "containers"), {})):
        broken = copy.deepcopy(each)
        place = broken
        for word in path[:-1]:
            place = place[word]
        place[path[-1]] = value
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_kustomized_objects_conform_and_have_dashboards() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl, for `kubectl kustomize`")
    done = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = list(yaml.safe_load_all(done.stdout))
    assert len(made) == len(OBJECTS) + 1
    for each in made:
        if each["kind"] not in OF_OPERATORS:
            kubernetes_validate.validate(each, KUBERNETES, strict=True)
    (dashboards,) = [each for each in made if each["metadata"]["name"].startswith("embedder-dashboards")]
    folder = PROJECT / "monitoring" / "grafana" / "dashboards"
    assert dashboards["data"] == {file.name: file.read_text("utf-8") for file in folder.glob("*.json")}


def test_every_container_is_pinned_and_without_rights() -> None:
    found = [(metadata, pod, each) for metadata, pod in pods() for each in containers(pod)]
    assert len(found) >= 4
    for metadata, pod, each in found:
        assert PINNED.fullmatch(each["image"]), each["image"]
        assert unprivileged(pod["securityContext"], each["securityContext"]), metadata
        assert pod["automountServiceAccountToken"] is False
        assert each["resources"]["limits"]["memory"]
    run = LAUNCHER["runK8sConfig"]["podSpecConfig"]["securityContext"]
    assert unprivileged(run, LAUNCHER["securityContext"])
    for part in (USER_CODE, VALUES["dagsterWebserver"], VALUES["dagsterDaemon"]):
        assert unprivileged(part["podSecurityContext"], part["securityContext"])


def test_triton_requests_a_gpu_node() -> None:
    pod = the("Deployment", "triton")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (
        container["resources"]["limits"]["nvidia.com/gpu"] == container["resources"]["requests"]["nvidia.com/gpu"] == 1
    )
    assert pod["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    assert pod["tolerations"][0]["key"] == "nvidia.com/gpu"
    settings = load_settings(environ={})
    models = {*settings.dense_models, settings.sparse_model, settings.rerank_model}
    loaded = {word.partition("=")[2] for word in container["args"] if word.startswith("--load-model")}
    assert loaded == models
    assert "replicas" not in the("Deployment", "triton")["spec"], "would undo what the autoscaler has done"


def test_autoscaler_follows_an_existing_triton_metric() -> None:
    scaler = the("HorizontalPodAutoscaler", "triton")["spec"]
    target = scaler["scaleTargetRef"]
    assert the(target["kind"], target["name"])["apiVersion"] == target["apiVersion"]
    adapter = yaml.safe_load((FOLDER / "prometheus-adapter-values.yaml").read_text("utf-8"))
    rules = {rule["name"]["as"]: rule for rule in adapter["rules"]["custom"]}
    rule = rules[scaler["metrics"][0]["pods"]["metric"]["name"]]
    series = re.match(r"\w+", rule["seriesQuery"])
    assert series is not None
    rows = (PROJECT / "tests" / "unit" / "triton_metrics" / "four_gpus.txt").read_text("utf-8")
    recorded = "".join(file.read_text("utf-8") for file in (PROJECT / "monitoring").rglob("*.yml"))
    assert series[0] in rows + recorded
    assert {"namespace", "pod"} == {*rule["resources"]["overrides"]}


def test_services_policies_monitors_and_budgets_find_their_pods() -> None:
    labels = [metadata["labels"] for metadata, _ in pods()]
    labels += [{**USER_CODE["labels"]}, {**LAUNCHER["labels"]}]

    def matches(selector: dict[str, str]) -> bool:
        return any(selector.items() <= each.items() for each in labels)

    selectors = [each["spec"]["selector"] for each in OBJECTS if each["kind"] == "Service"]
    policies = [each["spec"] for each in OBJECTS if each["kind"] == "NetworkPolicy"]
    selectors += [policy["podSelector"]["matchLabels"] for policy in policies]
    selectors += [
        each["spec"]["selector"]["matchLabels"]
        for each in OBJECTS
        if each["kind"] in ("Deployment", "PodDisruptionBudget")
    ]
    assert len(selectors) >= 9
    assert [selector for selector in selectors if not matches(selector)] == []
    services = [each for each in OBJECTS if each["kind"] == "Service"]
    for monitor in (each["spec"] for each in OBJECTS if each["kind"] == "ServiceMonitor"):
        wanted = monitor["selector"]["matchLabels"].items()
        (service,) = [each for each in services if wanted <= each["metadata"]["labels"].items()]
        names = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["endpoints"]} <= names
    covered = [policy["podSelector"]["matchLabels"] for policy in policies]
    assert [each for each in labels if not any(selector.items() <= each.items() for selector in covered)] == []


def test_volumes_claims_and_mounts_match() -> None:
    claims = {each["metadata"]["name"] for each in OBJECTS if each["kind"] == "PersistentVolumeClaim"}
    specifications = [(pod["volumes"], each["volumeMounts"]) for _, pod in pods() for each in containers(pod)]
    specifications += [
        (part["volumes"], part["volumeMounts"])
        for part in (USER_CODE, VALUES["dagsterWebserver"], VALUES["dagsterDaemon"])
    ]
    for volumes, mounts in specifications:
        claimed = {each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each}
        assert claimed <= claims
        assert {each["name"] for each in mounts} <= {each["name"] for each in volumes}


def test_settings_are_valid_and_name_the_services() -> None:
    data = the("ConfigMap", "embedder-settings")["data"]
    own = {name: value for name, value in data.items() if name.startswith("EMBEDDER_")}
    assert {name.removeprefix("EMBEDDER_").lower() for name in own} <= FIELDS.keys()
    settings = load_settings(environ={**own, "EMBEDDER_METRICS_PASSWORD_FILE": ""})
    (url,) = settings.triton_url
    host, _, port = url.partition(":")
    assert int(port) in {each["port"] for each in the("Service", host)["spec"]["ports"]}
    ports = the("Service", settings.metrics_address)["spec"]["ports"]
    assert settings.metrics_port in {each["port"] for each in ports}


def test_dagster_accepts_the_launcher_of_the_chart() -> None:
    config = {snake(name): value for name, value in LAUNCHER.items()}
    config["env_config_maps"] = [each["name"] for each in config["env_config_maps"]]
    config["run_k8s_config"] = {snake(name): value for name, value in config["run_k8s_config"].items()}
    for part in ("pod_spec_config", "job_spec_config"):
        config["run_k8s_config"][part] = {snake(name): value for name, value in config["run_k8s_config"][part].items()}
    chart = {
        "dagster_home": VALUES["global"]["dagsterHome"],
        "instance_config_map": "dagster-instance",
        "postgres_password_secret": "dagster-postgresql-secret",
        "service_account_name": "dagster",
    }
    result = validate_config(K8sRunLauncher.config_type(), {**config, **chart})
    assert result.success, result.errors
    wrong = validate_config(K8sRunLauncher.config_type(), {**config, **chart, "securty_context": {}})
    assert not wrong.success


def test_values_have_only_keys_of_the_chart() -> None:
    """Read in helm/dagster/schema of dagster-io/dagster, which refuses others in these places."""
    deployed = {"podSecurityContext", "securityContext", "resources", "volumes", "volumeMounts", "labels"}
    known = {
        "runLauncher": {"type", "config"},
        "dagsterWebserver": {"replicaCount", "service", *deployed},
        "dagsterDaemon": {"enabled", "runCoordinator", "runMonitoring", "runRetries", *deployed},
        "postgresql": {
            *("enabled", "postgresqlHost", "postgresqlUsername", "postgresqlDatabase"),
            *("postgresqlScheme", "postgresqlParams"),
        },
    }
    assert {name: VALUES[name].keys() - keys for name, keys in known.items() if VALUES[name].keys() - keys} == {}
    queue = VALUES["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    assert queue.keys() <= {"maxConcurrentRuns", "tagConcurrencyLimits", "dequeueIntervalSeconds"}
    assert USER_CODE["dagsterApiGrpcArgs"] == ["--module-name", "embedder_assets.definitions"]


def snake(name: str) -> str:
    return re.sub(r"(?<!^)([A-Z])", lambda found: f"_{found[1].lower()}", name)
