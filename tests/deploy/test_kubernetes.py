"""The manifests for Kubernetes, as kubectl makes them of the overlays."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from sqlalchemy.engine import make_url

from nst_core import __version__
from nst_core.settings import unknown_variables
from scheduler.api.middleware import _MOST_SPOOLED
from tests.deploy.test_compose import read_env

DEPLOY = Path(__file__).parents[2] / "deploy"
BIN = Path(sys.executable).parent
OVERLAYS = ("cpu", "gpu", "small")
#: The version of Kubernetes whose schemas are used.
VERSION = "1.33"
Manifest = dict[str, Any]


def kustomized(folder: Path) -> str:
    """Return what kubectl makes of a folder."""
    done = subprocess.run([str(BIN / "kubectl"), "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def rendered(overlay: str) -> list[Manifest]:
    """Return all objects of an overlay."""
    return list(yaml.safe_load_all(kustomized(DEPLOY / "kubernetes" / "overlays" / overlay)))


def of_kind(overlay: str, *kinds: str) -> list[Manifest]:
    """Return the objects of some kinds."""
    return [each for each in rendered(overlay) if each["kind"] in kinds]


def pods(overlay: str) -> dict[str, Manifest]:
    """Return the pods of all deployments and stateful sets, by name."""
    objects = of_kind(overlay, "Deployment", "StatefulSet")
    return {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in objects}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_follow_the_schemas_of_kubernetes(overlay: str) -> None:
    assert len(rendered(overlay)) > 5
    for manifest in rendered(overlay):
        kubernetes_validate.validate(manifest, VERSION, strict=True)
        assert manifest["kind"] == "Namespace" or manifest["metadata"]["namespace"] == "nst"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_meets_the_restricted_standard(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert {"requests", "limits"} <= container["resources"].keys(), name
            assert any(mount["mountPath"] == "/tmp" for mount in container["volumeMounts"]), name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_schedulers_and_workers_have_probes_spread_and_time_to_end(overlay: str) -> None:
    for name in ("scheduler", "worker"):
        pod = pods(overlay)[name]
        container = pod["containers"][0]
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
        assert container["livenessProbe"]["exec"]["command"] == ["python", "-m", "nst_core.system.heartbeat"]
        assert pod["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname"
        assert pod["terminationGracePeriodSeconds"] >= 30


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_scheduler_accepts_connections_until_the_service_knows_that_it_ends(overlay: str) -> None:
    pod = pods(overlay)["scheduler"]
    name, seconds = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert (name, int(seconds)) == ("sleep", 5)
    # After that it may take 15 s.
    assert pod["terminationGracePeriodSeconds"] >= int(seconds) + 15


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_uploads_on_their_way_fit_into_the_disk_of_a_scheduler(overlay: str) -> None:
    sizes = {volume["name"]: volume["emptyDir"]["sizeLimit"] for volume in pods(overlay)["scheduler"]["volumes"]}
    assert int(sizes["tmp"].removesuffix("Gi")) << 30 > _MOST_SPOOLED


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_find_exactly_one_workload(overlay: str) -> None:
    labels = {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"]["labels"]
        for each in of_kind(overlay, "Deployment", "StatefulSet")
    }
    selectors = {
        f"Service {each['metadata']['name']}": each["spec"]["selector"] for each in of_kind(overlay, "Service")
    }
    for budget in of_kind(overlay, "PodDisruptionBudget", "Deployment", "StatefulSet"):
        selectors[f"{budget['kind']} {budget['metadata']['name']}"] = budget["spec"]["selector"]["matchLabels"]
    for owner, selector in selectors.items():
        found = [name for name, each in labels.items() if selector.items() <= each.items()]
        assert found == [owner.split()[1]], owner


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_reference_has_its_object(overlay: str) -> None:
    maps = {each["metadata"]["name"]: each["data"] for each in of_kind(overlay, "ConfigMap")}
    secrets = read_env(DEPLOY / ".env.example").keys()
    for name, pod in pods(overlay).items():
        volumes = {volume["name"] for volume in pod.get("volumes", ())}
        volumes |= {
            claim["metadata"]["name"]
            for each in of_kind(overlay, "StatefulSet")
            if each["metadata"]["name"] == name
            for claim in each["spec"]["volumeClaimTemplates"]
        }
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes, name
            assert all(source["configMapRef"]["name"] in maps for source in container.get("envFrom", ()))
            defined: set[str] = set()
            for variable in container.get("env", ()):
                source = variable.get("valueFrom", {})
                if "secretKeyRef" in source:
                    assert source["secretKeyRef"]["name"] == "nst"
                    assert source["secretKeyRef"]["key"] in secrets
                if "configMapKeyRef" in source:
                    assert source["configMapKeyRef"]["key"] in maps[source["configMapKeyRef"]["name"]]
                used = set(re.findall(r"\$\((\w+)\)", variable.get("value", "")))
                assert used <= defined, "Kubernetes fills in what was defined before"
                defined.add(variable["name"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_settings_are_those_of_nst(overlay: str) -> None:
    for name in ("scheduler", "worker"):
        container = pods(overlay)[name]["containers"][0]
        names = [variable["name"] for variable in container["env"]]
        names += [key for each in of_kind(overlay, "ConfigMap") for key in each["data"]]
        assert unknown_variables(dict.fromkeys(names, "")) == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_workers_know_nothing_of_the_database(overlay: str) -> None:
    container = pods(overlay)["worker"]["containers"][0]
    names = {variable["name"] for variable in container["env"]}
    assert not names & {"POSTGRES_PASSWORD", "NST_DATABASE_URL", "NST_BOOTSTRAP_API_KEY", "NST_WEBHOOK_SECRET_KEY"}


def test_a_worker_on_a_gpu_asks_for_one_and_has_its_image() -> None:
    container = pods("gpu")["worker"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    images = {overlay: pods(overlay)["worker"]["containers"][0]["image"].partition(":")[0] for overlay in OVERLAYS}
    assert images == {"cpu": "nst-worker-cpu", "gpu": "nst-worker-cuda", "small": "nst-worker-cpu"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_have_a_version_and_those_of_nst_have_this_one(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        image, _, tag = pod["containers"][0]["image"].rpartition(":")
        assert image, name
        assert tag != "latest", name
        assert (tag == __version__) == image.startswith("nst-"), name


#: What the documentation of KEDA says of a ScaledObject and of its trigger for Prometheus. None of the packages that
#: the tests use has a schema of KEDA.
SCALED_OBJECT = {
    "type": "object",
    "required": ["apiVersion", "kind", "metadata", "spec"],
    "additionalProperties": False,
    "properties": {
        "apiVersion": {"const": "keda.sh/v1alpha1"},
        "kind": {"const": "ScaledObject"},
        "metadata": {"type": "object"},
        "spec": {
            "type": "object",
            "required": ["scaleTargetRef", "triggers"],
            "additionalProperties": False,
            "properties": {
                "scaleTargetRef": {"type": "object", "required": ["name"]},
                "minReplicaCount": {"type": "integer", "minimum": 0},
                "maxReplicaCount": {"type": "integer", "minimum": 1},
                "pollingInterval": {"type": "integer", "minimum": 1},
                "cooldownPeriod": {"type": "integer", "minimum": 0},
                "advanced": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"horizontalPodAutoscalerConfig": {"type": "object", "required": ["behavior"]}},
                },
                "triggers": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["type", "metadata"],
                        "additionalProperties": False,
                        "properties": {
                            "type": {"const": "prometheus"},
                            "metadata": {
                                "type": "object",
                                "required": ["serverAddress", "query", "threshold"],
                                "propertyNames": {
                                    "enum": ["serverAddress", "query", "threshold", "ignoreNullValues"],
                                },
                                "additionalProperties": {"type": "string"},
                            },
                        },
                    },
                },
            },
        },
    },
}


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Manifest]:
    """The objects of the overlay with both components that README.md shows, by kind and name."""
    mine = tmp_path_factory.mktemp("mine")
    [shown] = re.findall(r"```yaml\n(resources:.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)
    text = "namespace: nst\n" + shown.replace("nst/deploy/", f"{os.path.relpath(DEPLOY, mine)}/")
    (mine / "kustomization.yaml").write_text(text)
    objects = yaml.safe_load_all(kustomized(mine))
    return {f"{each['kind']} {each['metadata']['name']}": each for each in objects}


def test_the_number_of_workers_follows_metrics_that_exist(outside: dict[str, Manifest]) -> None:
    scaled, worker = outside["ScaledObject worker"], outside["Deployment worker"]
    jsonschema.validate(scaled, SCALED_OBJECT)
    assert scaled["metadata"]["namespace"] == worker["metadata"]["namespace"] == "nst"
    assert scaled["spec"]["scaleTargetRef"] == {"name": worker["metadata"]["name"]}
    assert "replicas" not in worker["spec"], "KEDA decides"
    assert scaled["spec"]["maxReplicaCount"] == 40
    # A worker that ends has time for the image that it has begun.
    assert worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 120
    assert outside["Deployment scheduler"]["spec"]["replicas"] == 2
    table = (DEPLOY / "monitoring" / "README.md").read_text()
    for trigger in scaled["spec"]["triggers"]:
        [metric] = re.findall(r"nst_\w+", trigger["metadata"]["query"])
        assert f"| `{metric}` | gauge |" in table
        assert f"| `{trigger['metadata']['query']}` | {trigger['metadata']['threshold']} |" in table


def test_the_window_of_the_autoscaler_is_one_of_kubernetes(outside: dict[str, Manifest]) -> None:
    spec = outside["ScaledObject worker"]["spec"]
    behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "worker"},
        "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "worker"}, "maxReplicas": 1, "behavior": behavior},
    }
    kubernetes_validate.validate(autoscaler, VERSION, strict=True)


def test_the_ingress_leads_to_the_port_of_the_schedulers(outside: dict[str, Manifest]) -> None:
    ingress = outside["Ingress scheduler"]
    kubernetes_validate.validate(ingress, VERSION, strict=True)
    [rule] = ingress["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    service = outside[f"Service {backend['name']}"]
    assert backend["port"]["name"] in {port["name"] for port in service["spec"]["ports"]}
    assert ingress["spec"]["tls"][0]["hosts"] == [rule["host"]] == ["nst.studio.example"]


def test_an_overlay_of_ones_own_changes_images_addresses_and_the_number_of_workers(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(
        f"""
        namespace: nst
        resources: [{os.path.relpath(DEPLOY / "kubernetes" / "overlays" / "gpu", mine)}]
        images: [{{name: nst-worker-cuda, newName: registry.internal/nst-worker-cuda, newTag: "7"}}]
        replicas: [{{name: worker, count: 5}}]
        configMapGenerator: [{{name: nst, behavior: merge, literals: [REDIS_ADDRESS=redis.internal:6379/3]}}]
        """
    )
    objects = list(yaml.safe_load_all(kustomized(mine)))
    worker = next(
        each["spec"] for each in objects if each["kind"] == "Deployment" and each["metadata"]["name"] == "worker"
    )
    (settings,) = (each["data"] for each in objects if each["kind"] == "ConfigMap")
    assert worker["replicas"] == 5
    assert worker["template"]["spec"]["containers"][0]["image"] == "registry.internal/nst-worker-cuda:7"
    assert (settings["REDIS_ADDRESS"], settings["NST_S3_BUCKET"]) == ("redis.internal:6379/3", "nst")


def addresses(objects: list[Manifest], deployment: str, secrets: dict[str, str]) -> dict[str, str]:
    """Return the addresses of servers that a container gets, filled in as Kubernetes does."""
    (settings,) = (each["data"] for each in objects if each["kind"] == "ConfigMap")
    values: dict[str, str] = {}
    for each in objects:
        if (each["kind"], each["metadata"]["name"]) != ("Deployment", deployment):
            continue
        for variable in each["spec"]["template"]["spec"]["containers"][0]["env"]:
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                value = secrets.get(source["secretKeyRef"]["key"], "")
            elif "configMapKeyRef" in source:
                value = settings[source["configMapKeyRef"]["key"]]
            else:
                value = re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], variable["value"])
            values[variable["name"]] = value
    return {name: value for name, value in values.items() if name in ("NST_REDIS_URL", "NST_DATABASE_URL")}


def test_servers_of_ones_own_may_have_tls_users_and_passwords_of_any_kind(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    [shown] = re.findall(r"```yaml\n(configMapGenerator:.*?)```", (DEPLOY / "README.md").read_text(), re.DOTALL)
    base = os.path.relpath(DEPLOY / "kubernetes" / "overlays" / "cpu", mine)
    (mine / "kustomization.yaml").write_text(f"namespace: nst\nresources: [{base}]\n{shown}")
    secrets = {"REDIS_PASSWORD": "p%40ss", "POSTGRES_PASSWORD": "w%2Frd"}
    objects = list(yaml.safe_load_all(kustomized(mine)))
    redis = "rediss://nst:p%40ss@redis.internal:6379/0"
    database = "postgresql+psycopg://studio:w%2Frd@postgres.internal:5432/nst?sslmode=verify-full&sslrootcert=system"
    assert addresses(objects, "worker", secrets) == {"NST_REDIS_URL": redis}
    assert addresses(objects, "scheduler", secrets) == {"NST_REDIS_URL": redis, "NST_DATABASE_URL": database}
    assert make_url(database).password == "w/rd"


def test_the_servers_of_the_small_overlay_have_their_addresses() -> None:
    secrets = {"REDIS_PASSWORD": "r", "POSTGRES_PASSWORD": "p"}
    assert addresses(rendered("small"), "scheduler", secrets) == {
        "NST_REDIS_URL": "redis://:r@redis:6379/0",
        "NST_DATABASE_URL": "postgresql+psycopg://nst:p@postgres:5432/nst",
    }


def test_each_server_of_the_small_overlay_admits_only_its_clients() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in of_kind("small", "NetworkPolicy")}
    assert policies["deny-ingress"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    clients = {
        name: policies[name]["ingress"][0]["from"][0]["podSelector"]["matchExpressions"][0]["values"]
        for name in ("postgres", "redis", "storage")
    }
    assert clients == {
        "postgres": ["scheduler"],
        "redis": ["scheduler", "worker"],
        "storage": ["scheduler", "worker"],
    }
