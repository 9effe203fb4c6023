"""The Helm chart, rendered by Helm: valid objects, which fit together, and fit the gateway."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.registry import REGISTRY

from peatio_ws.config.misspelt_variables import KNOWN
from peatio_ws.config.settings import Settings
from peatio_ws.monitoring import metrics  # noqa: F401  (registers its metrics)
from tests.programs import helm
from tests.support import documents
from tests.support.gateway import ROOT

CHART = ROOT / "deploy" / "helm" / "peatio-ws"
DEFAULTS = {"existingSecret": "of-mine"}
EVERYTHING: dict[str, Any] = {
    "image": {"repository": "registry.example/peatio-ws", "tag": "0.1.1", "pullPolicy": "Always"},
    "imagePullSecrets": [{"name": "registry"}],
    "args": ["python", "-m", "peatio_ws", "run", "--no-simulation", "exchange:application"],
    "settings": {
        "WEBSOCKET_RESUME_BYTES": 268_435_456,
        "WEBSOCKET_DRAIN_SECONDS": 2.5,
        "WEBSOCKET_COMPRESSION": False,
        "TRUSTED_PROXIES": "10.0.0.0/8",
        "RANGO_RBAC_ADMIN": "admin,superadmin",
    },
    "existingSecret": "of-mine",
    "secret": {"JWT_PUBLIC_KEY": "LS0t", "AMQP_URL": "amqp://user:password@rabbitmq/"},
    "extraEnv": [{"name": "GUNICORN_CMD_ARGS", "value": "--reuse-port"}],
    "tls": {"secretName": "certificate"},
    "service": {"type": "LoadBalancer", "port": 443, "annotations": {"example.com/internal": "true"}},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "annotations": {"nginx.ingress.kubernetes.io/proxy-read-timeout": "75"},
        "host": "ws.example.com",
        "tlsSecretName": "certificate",
    },
    "autoscaling": {"enabled": True, "connectionsPerPod": 1_200_000},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "dashboard": {"enabled": True},
    "podLabels": {"team": "exchange"},
    "priorityClassName": "high",
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "exchange", "operator": "Exists"}],
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}}
    ],
    "affinity": {"podAffinity": {}},
    "extraVolumes": [{"name": "keys", "configMap": {"name": "keys"}}],
    "extraVolumeMounts": [{"name": "keys", "mountPath": "/etc/keys"}],
}
CHOSEN_BY_THE_CHART = {
    *"WEBSOCKET_PORT RANGER_PORT WEBSOCKET_UNIX METRICS_PORT WEBSOCKET_SSL_KEY WEBSOCKET_SSL_CERT".split(),
    *"PROMETHEUS_MULTIPROC_DIR WEBSOCKET_SIMULATION JWT_PRIVATE_KEY".split(),
}
"""Variables that are no values of the chart, or of no use in it."""
SECONDS = 60


def run(*words: str | Path, values: dict[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
    """Run Helm, with values on its standard input."""
    program = helm.program()
    assert program is not None, "helm is missing; `make .venv/.test-ready` installs it"
    command = [str(program), *map(str, words), *(() if values is None else ("--values", "-"))]
    given = json.dumps(values) if values is not None else None
    return subprocess.run(command, input=given, capture_output=True, text=True, timeout=SECONDS)


Objects = dict[tuple[str, str], dict[str, Any]]


@functools.cache
def _rendered(values: str, chart: Path) -> str:
    done = run("template", "ws", chart, values=json.loads(values))
    assert done.returncode == 0, done.stderr
    return done.stdout


def rendered(values: dict[str, Any], chart: Path = CHART) -> Objects:
    """Return the objects of a release with the name `ws`, by kind and name."""
    found = list(filter(None, yaml.safe_load_all(_rendered(json.dumps(values), chart))))
    objects = {(one["kind"], one["metadata"]["name"]): one for one in found}
    assert len(objects) == len(found), "two objects have the same name"
    return objects


def everything() -> dict[str, Any]:
    """Return values of which each differs from its default, with the example of a network policy in the documents."""
    (example,) = [
        block.text for block in documents.blocks(ROOT / "docs" / "kubernetes.md") if "networkPolicy" in block.text
    ]
    return EVERYTHING | yaml.safe_load(example)  # type: ignore[no-any-return]


def pods(objects: Objects) -> Iterator[dict[str, Any]]:
    yield objects["Deployment", "ws"]["spec"]["template"]["spec"]
    yield objects["Pod", "ws-check"]["spec"]


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of values. Some have no fixed names in them."""
    free = {"settings", "resources", "podAnnotations", "dashboard.labels"}
    for name, value in values.items():
        if isinstance(value, dict) and value and prefix + name not in free:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_helm_finds_no_fault() -> None:
    done = run("lint", "--strict", CHART)
    assert done.returncode == 0, done.stdout
    assert "0 chart(s) failed" in done.stdout


@pytest.mark.parametrize("values", [DEFAULTS, everything()], ids=["defaults", "everything"])
def test_objects_are_valid(values: dict[str, Any]) -> None:
    import kubernetes_validate

    version = kubernetes_validate.latest_version()
    for one in rendered(values).values():
        if not one["apiVersion"].startswith("monitoring.coreos.com/"):  # not of Kubernetes itself
            kubernetes_validate.validate(one, version, strict=True)
    wrong = json.loads(json.dumps(rendered(values)["Deployment", "ws"]))
    wrong["spec"]["replica"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, version, strict=True)


def test_optional_objects_are_off_by_default() -> None:
    by_default = {"ConfigMap", "Deployment", "Service", "PodDisruptionBudget", "Pod"}
    assert {kind for kind, _ in rendered(DEFAULTS)} == by_default
    assert "\nkind: Pod\n" not in run("template", "ws", CHART, "--skip-tests", values=DEFAULTS).stdout
    assert rendered(DEFAULTS)["Deployment", "ws"]["spec"]["replicas"] == 2
    assert {kind for kind, _ in rendered(everything())} == by_default | {
        *"Secret Ingress HorizontalPodAutoscaler NetworkPolicy ServiceMonitor PrometheusRule".split()
    }
    assert "replicas" not in rendered(everything())["Deployment", "ws"]["spec"], "it would work against the autoscaler"


def test_objects_refer_to_each_other() -> None:
    objects = rendered(everything())
    template = objects["Deployment", "ws"]["spec"]["template"]
    labels, (container,) = template["metadata"]["labels"].items(), template["spec"]["containers"]
    for selector in (
        objects["Deployment", "ws"]["spec"]["selector"]["matchLabels"],
        objects["Service", "ws"]["spec"]["selector"],
        objects["Service", "ws-metrics"]["spec"]["selector"],
        objects["PodDisruptionBudget", "ws"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy", "ws"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels
        assert not selector.items() <= objects["Pod", "ws-check"]["metadata"]["labels"].items(), "the check is served"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {
        "websocket": Settings.limits_from_env({}).port,
        "metrics": Settings.limits_from_env({}).metrics_port,
    }
    named = [container[probe]["httpGet"]["port"] for probe in ("readinessProbe", "livenessProbe", "startupProbe")]
    named += [port["targetPort"] for name in ("ws", "ws-metrics") for port in objects["Service", name]["spec"]["ports"]]
    named += [port["port"] for rule in objects["NetworkPolicy", "ws"]["spec"]["ingress"] for port in rule["ports"]]
    assert set(named) == set(ports)
    assert {port["name"] for port in objects["Service", "ws"]["spec"]["ports"]} == {"websocket"}, "the public one"
    (path,) = objects["Ingress", "ws"]["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"] == {"name": "ws", "port": {"name": "websocket"}}
    assert objects["HorizontalPodAutoscaler", "ws"]["spec"]["scaleTargetRef"]["name"] == "ws"
    # The monitor selects by the labels of services, and its port by the service's name of it.
    monitor = objects["ServiceMonitor", "ws"]["spec"]
    services = [one for (kind, _), one in objects.items() if kind == "Service"]
    (found,) = [
        one for one in services if monitor["selector"]["matchLabels"].items() <= one["metadata"]["labels"].items()
    ]
    assert [port["name"] for port in found["spec"]["ports"]] == [monitor["endpoints"][0]["port"]]
    for pod in pods(objects):
        (one,) = pod["containers"]
        assert {mount["name"] for mount in one["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
        for source in one["envFrom"]:
            ((kind, named_),) = ((kind, value["name"]) for kind, value in source.items())
            assert named_ == "of-mine" or ({"configMapRef": "ConfigMap"}.get(kind, "Secret"), named_) in objects


def test_pods_are_unprivileged_and_get_no_variables_of_services() -> None:
    for values in (DEFAULTS, everything()):
        for pod in pods(rendered(values)):
            assert pod["enableServiceLinks"] is pod["automountServiceAccountToken"] is False
            assert pod["securityContext"]["runAsNonRoot"]
            assert pod["containers"][0]["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            temporary = {"name": "TMPDIR", "value": "/tmp"}
            assert temporary in pod["containers"][0]["env"], "the only folder that a worker can write to"


@pytest.mark.parametrize("drain", [None, 2.5, 60])
def test_a_stopping_pod_may_close_all_connections(drain: float | None) -> None:
    values = {**DEFAULTS, "settings": {"WEBSOCKET_DRAIN_SECONDS": drain}}
    pod = rendered(values)["Deployment", "ws"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    data = rendered(values)["ConfigMap", "ws"]["data"]
    graceful = Settings.limits_from_env(data).drain_seconds + 12  # gunicorn.conf.py
    waits = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > waits + graceful


def test_settings_are_variables_of_the_gateway() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    names, family = schema["definitions"]["variables"]["propertyNames"]["anyOf"]
    assert set(names["enum"]) == KNOWN - CHOSEN_BY_THE_CHART
    assert re.match(family["pattern"], "RANGO_RBAC_ADMIN")
    settings = Settings.limits_from_env(rendered(everything())["ConfigMap", "ws"]["data"])
    assert (settings.resume_bytes, settings.drain_seconds, settings.compression) == (268_435_456, 2.5, False)
    assert Settings.limits_from_env(rendered(DEFAULTS)["ConfigMap", "ws"]["data"]).workers == 2
    for pod in pods(rendered(everything())):
        env = {one["name"] for one in pod["containers"][0]["env"]}
        assert env - {"TMPDIR", "GUNICORN_CMD_ARGS"} == {"WEBSOCKET_SSL_CERT", "WEBSOCKET_SSL_KEY"} <= KNOWN


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({}, "set existingSecret"),
        ({**DEFAULTS, "settings": {"WEBSOCKET_PROT": 1}}, "WEBSOCKET_PROT"),
        ({"secret": {"JWT_PUBLIC_KEYZ": "x"}}, "JWT_PUBLIC_KEYZ"),
        ({**DEFAULTS, "replica": 3}, "replica"),
        ({**DEFAULTS, "ingress": {"enabled": True}}, "ingress/host"),
    ],
)
def test_wrong_values_are_refused(values: dict[str, Any], why: str) -> None:
    done = run("template", "ws", CHART, values=values)
    assert done.returncode != 0
    assert why in done.stderr.replace("ingress.host", "ingress/host")  # Helm 3 names it so


def test_the_autoscaler_scales_by_a_metric_of_the_gateway() -> None:
    (one,) = rendered(everything())["HorizontalPodAutoscaler", "ws"]["spec"]["metrics"]
    assert one["pods"]["target"]["averageValue"] == "1200000"
    name = one["pods"]["metric"]["name"]
    assert name in {metric.name for metric in REGISTRY.collect()}
    (rule,) = [block.text for block in documents.blocks(ROOT / "docs" / "kubernetes.md") if "seriesQuery" in block.text]
    (custom,) = yaml.safe_load(rule)["rules"]["custom"]
    assert re.fullmatch(custom["name"]["matches"], name)
    assert custom["seriesQuery"].startswith(name + "{")


def test_rules_and_dashboard_are_those_of_deploy() -> None:
    objects = rendered(everything())
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus-rules.yaml").read_text())
    assert objects["PrometheusRule", "ws"]["spec"] == rules
    dashboard = objects["ConfigMap", "ws-dashboard"]["data"]["peatio-ws.json"]
    assert json.loads(dashboard) == json.loads((ROOT / "deploy" / "grafana.json").read_text())
    (endpoint,) = objects["ServiceMonitor", "ws"]["spec"]["endpoints"]
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus.yaml").read_text())["scrape_configs"][0]["job_name"]
    assert {"targetLabel": "job", "replacement": scraped} in endpoint["relabelings"]


def test_the_packed_chart_renders_the_same(tmp_path: Path) -> None:
    """The links to other files of deploy/ are files in the package."""
    done = run("package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.iterdir()
    assert rendered(everything(), package) == rendered(everything())


def test_every_value_is_documented() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    table = "\n".join(line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `"))
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(re.findall(r"`([\w.]+)`", table)) == set(leaves(values))
