"""The recipes for containers, read as their tools read them: what their first lines promise is what they say."""

from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
DRAIN_S = 30


@pytest.fixture(scope="module")
def manifests():
    text = (DEPLOY / "kubernetes" / "openai-proxy.yaml").read_text(encoding="utf-8")
    return {each["kind"]: each for each in yaml.safe_load_all(text)}


@pytest.fixture(scope="module")
def pod(manifests):
    return manifests["Deployment"]["spec"]["template"]["spec"]


@pytest.fixture(scope="module")
def service():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))["services"]["openai-proxy"]


def test_the_pod_has_no_privileges(pod):
    """Not root, no capabilities, a file system that cannot be written, no token of the cluster."""
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {pod["securityContext"][name] for name in ("runAsUser", "runAsGroup", "fsGroup")} == {10001}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


def test_keys_are_files_and_clients_show_some(pod):
    """No key stands in the manifest, and none of the variables of the pod is one."""
    (container,) = pod["containers"]
    variables = {each["name"]: each["value"] for each in container["env"]}
    assert set(variables) == {"OPENAI_API_KEY_FILE", "CLIENT_API_KEYS_FILE", "ADMIN__PORT"}
    mounted = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert all(
        path.startswith(f"{mounted['keys']}/") for name, path in variables.items() if name.endswith("_FILE")
    )
    (keys,) = [each for each in pod["volumes"] if each["name"] == "keys"]
    assert keys["secret"]["defaultMode"] == 0o440


def test_the_operators_pages_are_not_in_the_service(manifests, pod):
    """`/metrics` and `/admin` have a port that the Service does not have, and a policy of their own."""
    (container,) = pod["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"http": 8080, "metrics": 9090}
    assert [each["targetPort"] for each in manifests["Service"]["spec"]["ports"]] == ["http"]
    assert manifests["Service"]["spec"].get("type", "ClusterIP") == "ClusterIP"
    opened = {
        rule["ports"][0]["port"]: rule["from"] for rule in manifests["NetworkPolicy"]["spec"]["ingress"]
    }
    assert opened["http"] == [{"podSelector": {}}]
    assert "podSelector" not in opened["metrics"][0]


def test_streams_may_end_before_a_container_is_killed(pod, service):
    """The time after SIGTERM is longer than drain_timeout_s, and than what comes before it."""
    (container,) = pod["containers"]
    before_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > before_s + DRAIN_S
    assert int(service["stop_grace_period"].removesuffix("s")) > DRAIN_S


def test_compose_publishes_on_this_machine_and_wants_keys(service):
    """Not root, no capabilities, keys from files."""
    assert service["ports"] == ["127.0.0.1:8080:8080"]
    assert service["user"] == "10001:10001"
    assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert set(service["environment"]) == {"OPENAI_API_KEY_FILE", "CLIENT_API_KEYS_FILE"}
