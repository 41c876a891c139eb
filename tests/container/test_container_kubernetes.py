"""The Kubernetes manifests: valid to the letter, as strict as they claim, and their settings and rules in order."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
WAYS = ("standalone", "sidecar")
#: Kinds that are no part of Kubernetes itself, so that its schemas do not know them.
FOREIGN = {"Kustomization", "ServiceMonitor", "PodMonitor"}
FILES = sorted(KUBERNETES.rglob("*.yaml"), key=str)


def documents(path: Path) -> list[dict[str, Any]]:
    return [each for each in yaml.safe_load_all(path.read_text(encoding="utf-8")) if each]


def resources(way: str) -> list[dict[str, Any]]:
    """What `kubectl apply -k` would apply."""
    listed = documents(KUBERNETES / way / "kustomization.yaml")[0]["resources"]
    return [each for name in listed for each in documents(KUBERNETES / way / name)]


def of_kind(way: str, kind: str) -> list[dict[str, Any]]:
    return [each for each in resources(way) if each["kind"] == kind]


def pod(way: str) -> dict[str, Any]:
    (deployment,) = of_kind(way, "Deployment")
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def watchdog(way: str) -> dict[str, Any]:
    (found,) = [each for each in pod(way)["containers"] if each["name"] == "budget-watchdog"]
    return dict(found)


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(KUBERNETES)) for path in FILES])
def test_valid_to_the_letter(path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import kubernetes_validate
    except ImportError:
        if os.environ.get("BW_TEST_REQUIRE_ALL"):
            raise
        pytest.skip("kubernetes-validate is not installed")
    for document in documents(path):
        if document["kind"] not in FOREIGN:
            kubernetes_validate.validate(document, "1.29", strict=True)
            kubernetes_validate.validate(document, "1.37", strict=True)


@pytest.mark.parametrize("way", WAYS)
class TestEachWay:
    def test_every_file_is_applied_or_optional(self, way: str) -> None:
        listed = set(documents(KUBERNETES / way / "kustomization.yaml")[0]["resources"])
        there = {path.name for path in (KUBERNETES / way).iterdir()} - {"kustomization.yaml"}
        text = (KUBERNETES / way / "kustomization.yaml").read_text(encoding="utf-8")
        assert listed <= there
        assert all(f"# - {name}" in text for name in there - listed)

    def test_one_daemon_to_a_ledger(self, way: str) -> None:
        (deployment,) = of_kind(way, "Deployment")
        assert deployment["spec"]["replicas"] == 1
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}

    def test_every_container_is_locked_down(self, way: str) -> None:
        spec = pod(way)
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            context = {**spec["securityContext"], **container["securityContext"]}
            assert context["runAsNonRoot"] is True
            assert context["runAsUser"] > 0
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]

    def test_the_watchdog_is_the_user_of_the_image_and_its_group_may_read_the_tokens(self, way: str) -> None:
        context = {**pod(way)["securityContext"], **watchdog(way)["securityContext"]}
        assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 65532
        (tokens,) = [each["secret"] for each in pod(way)["volumes"] if "secret" in each]
        assert tokens["defaultMode"] == 0o440

    def test_tokens_are_files_and_no_environment(self, way: str) -> None:
        assert [each["name"] for each in watchdog(way)["env"]] == ["BUDGET_WATCHDOG_CONFIG"]
        assert "envFrom" not in watchdog(way)

    def test_every_mount_has_its_volume_and_may_change_under_the_daemon(self, way: str) -> None:
        mounts = watchdog(way)["volumeMounts"]
        assert {each["name"] for each in mounts} == {each["name"] for each in pod(way)["volumes"]}
        assert not [each for each in mounts if "subPath" in each]
        paths = sorted(each["mountPath"] for each in mounts)
        assert not [(one, two) for one in paths for two in paths if two.startswith(f"{one}/")], "a mount in a mount"
        assert [each["mountPath"] for each in mounts if not each.get("readOnly")] == ["/var/lib/budget-watchdog"]

    def test_every_name_that_is_referred_to_exists(self, way: str) -> None:
        volumes = pod(way)["volumes"]
        maps = {each["metadata"]["name"] for each in of_kind(way, "ConfigMap")}
        claims = {each["metadata"]["name"] for each in of_kind(way, "PersistentVolumeClaim")}
        assert {each["configMap"]["name"] for each in volumes if "configMap" in each} == maps
        assert {
            each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each
        } == claims
        (secret,) = documents(KUBERNETES / "secret.example.yaml")
        assert [each["secret"]["secretName"] for each in volumes if "secret" in each] == [secret["metadata"]["name"]]

    def test_a_dead_platform_restarts_nothing(self, way: str) -> None:
        for probe in ("startupProbe", "livenessProbe"):
            assert watchdog(way)[probe]["httpGet"] == {"path": "/healthz", "port": "http"}
        # Beside an application, readiness is that of the application's Pod as well.
        page = {"standalone": "/readyz", "sidecar": "/healthz"}[way]
        assert watchdog(way)["readinessProbe"]["httpGet"] == {"path": page, "port": "http"}

    def test_settings_and_rules_are_in_order(self, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As `budget-watchdog check` sees them in the Pod, with the places of the Pod put into a folder."""
        from watchdog.cli.check import command

        config, rules = of_kind(way, "ConfigMap")
        text = config["data"]["config.yaml"]
        (secret,) = documents(KUBERNETES / "secret.example.yaml")
        inside = {each["mountPath"]: tmp_path / each["name"] for each in watchdog(way)["volumeMounts"]}
        for place, folder in inside.items():
            folder.mkdir()
            text = text.replace(place, str(folder))
        (tmp_path / "config" / "config.yaml").write_text(text, encoding="utf-8")
        for name, token in secret["stringData"].items():
            (tmp_path / "tokens" / name).write_text(token, encoding="utf-8")
        for name, content in rules["data"].items():
            (tmp_path / "rules" / name).write_text(content, encoding="utf-8")
        for variable in [name for name in os.environ if name.startswith("BUDGET_WATCHDOG_")]:
            monkeypatch.delenv(variable)
        done = CliRunner().invoke(command, ["--config", str(tmp_path / "config/config.yaml")], standalone_mode=False)
        assert done.exception is None, done.exception
        assert done.return_value == 0
        assert "all in order" in done.output
        assert "dry run" in done.output

    def test_images_are_named_in_one_place(self, way: str) -> None:
        from watchdog import __version__

        images = {each["name"]: each for each in documents(KUBERNETES / way / "kustomization.yaml")[0]["images"]}
        assert {each["image"] for each in pod(way)["containers"]} == set(images)
        assert images["budget-watchdog"]["newTag"] == __version__


def test_the_service_finds_the_pod_also_when_it_is_not_ready() -> None:
    (service,), (deployment,) = of_kind("standalone", "Service"), of_kind("standalone", "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= labels.items()
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert service["spec"]["publishNotReadyAddresses"] is True
    assert service["spec"]["ports"][0]["targetPort"] == watchdog("standalone")["ports"][0]["name"]


def test_the_job_is_the_one_that_the_alerts_know() -> None:
    (service,) = of_kind("standalone", "Service")
    (monitor,) = documents(KUBERNETES / "sidecar" / "pod-monitor.yaml")
    (relabeling,) = monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]
    assert service["metadata"]["name"] == "budget-watchdog"  # which the operator makes the job
    assert (relabeling["targetLabel"], relabeling["replacement"]) == ("job", "budget-watchdog")
