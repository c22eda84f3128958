"""What is in `deploy/`: well-formed by the programs that know, and in agreement with the gateway."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from kilo_gateway import instruments
from kilo_gateway.metrics import Event
from kilo_gateway.serve import GRACE_SECONDS
from tests.reliability.nginx import configured, program
from tests.support.live import ROOT

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
TOOLS = Path(sys.executable).parent


def run(*command: str | Path) -> str:
    """What a program says; it must have nothing against its input."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def documents() -> list[dict[str, Any]]:
    return [document for path in MANIFESTS for document in yaml.safe_load_all(path.read_text())]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [document for document in documents() if document["kind"] == kind]


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def test_dockerfile() -> None:
    run(TOOLS / "hadolint", DEPLOY / "Dockerfile")


def test_compose() -> None:
    run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def test_kubernetes() -> None:
    run(TOOLS / "kubernetes-validate", "--strict", "--quiet", *MANIFESTS)


def test_nginx(tmp_path: Path) -> None:
    path = configured(tmp_path, [8001, 8002], 8003)
    assert "gateway-" not in path.read_text()
    run(program(), "-t", "-e", str(tmp_path / "error.log"), "-c", str(path))


def test_systemd() -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    done = subprocess.run(
        [analyze, "verify", DEPLOY / "kilo-gateway.service"], capture_output=True, text=True, check=False
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "is not executable" not in line]
    assert not [line for line in said if "kilo-gateway.service" in line]


class TestTheImage:
    text = (DEPLOY / "Dockerfile").read_text()

    def test_it_has_all_that_the_gateway_is_made_of(self) -> None:
        copied = set(re.findall(r"^COPY ([a-z_./]+) [a-z_./]+$", self.text, re.MULTILINE))
        packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}
        assert copied >= packages | {"manage.py", "templates", "static"}
        allowed = {line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"}
        assert allowed == {source.removesuffix("/") for source in copied} - {"./"} | {"requirements.lock"}

    def test_it_runs_as_nobody_in_particular(self) -> None:
        assert re.findall(r"^USER (.*)$", self.text, re.MULTILINE) == ["10001:10001"]
        assert "--require-hashes" in self.text


class TestCompose:
    @pytest.mark.parametrize("name", ["gateway-1", "gateway-2", "migrate"])
    def test_gateways_can_write_nowhere_but_where_they_must(self, name: str) -> None:
        service = compose()["services"][name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]

    def test_settings_are_ones_that_exist(self) -> None:
        known = known_settings()
        assert set(compose()["services"]["gateway-1"]["environment"]) <= known

    def test_every_secret_is_a_file(self) -> None:
        content = compose()
        for service in content["services"].values():
            assert set(service.get("secrets", [])) <= set(content["secrets"])
        assert all(list(secret) == ["file"] for secret in content["secrets"].values())


class TestKubernetes:
    def test_settings_are_ones_that_exist(self) -> None:
        (config,) = of_kind("ConfigMap")
        (secret,) = of_kind("Secret")
        assert set(config["data"]) | set(secret["stringData"]) <= known_settings()

    def test_pods_may_nothing_that_they_need_not(self) -> None:
        for document in of_kind("Deployment") + of_kind("Job"):
            pod = document["spec"]["template"]["spec"]
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["automountServiceAccountToken"] is False
            for container in pod["containers"]:
                context = container["securityContext"]
                assert context["readOnlyRootFilesystem"] is True
                assert context["allowPrivilegeEscalation"] is False
                assert context["capabilities"] == {"drop": ["ALL"]}

    def test_it_waits_for_running_answers(self) -> None:
        (deployment,) = of_kind("Deployment")
        pod = deployment["spec"]["template"]["spec"]
        assert pod["terminationGracePeriodSeconds"] >= GRACE_SECONDS + 10
        seconds = int(compose()["services"]["gateway-1"]["stop_grace_period"].removesuffix("s"))
        assert seconds > GRACE_SECONDS

    def test_all_is_in_one_namespace_and_selects_what_is_there(self) -> None:
        names = {d["metadata"].get("namespace") for d in documents() if d["kind"] != "Namespace"}
        assert names == {"kilo-gateway"}
        (deployment,) = of_kind("Deployment")
        labels = deployment["spec"]["template"]["metadata"]["labels"].items()
        assert of_kind("Service")[0]["spec"]["selector"].items() <= labels
        for kind in ("PodDisruptionBudget",):
            assert of_kind(kind)[0]["spec"]["selector"]["matchLabels"].items() <= labels
        assert of_kind("HorizontalPodAutoscaler")[0]["spec"]["scaleTargetRef"]["name"] == "gateway"


def known_settings() -> set[str]:
    """All that `docs/configuration.md` has, and each as a file."""
    cells = re.findall(r"^\| ((?:`\w+`(?:, )?)+)", (ROOT / "docs" / "configuration.md").read_text(), re.MULTILINE)
    names = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    return names | {f"{name}_FILE" for name in names}


def test_the_metrics_that_the_manual_names_exist() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    named = {name.removesuffix("_total") for name in re.findall(r"`?(kilo_gateway_\w+)", text)}
    collectors = [value for value in vars(instruments).values() if isinstance(value, MetricWrapperBase)]
    existing = {metric.name for collector in collectors for metric in collector.describe()}
    existing |= {f"kilo_gateway_{event}" for event in Event}
    assert named == existing
