"""Runs the real Helm 3 and Helm 4 on the chart.

$HELM3 and $HELM4 name the programs; without them, those that `e2e/cluster/cluster deps` has put into the cache.
A missing one fails the tests: they mean nothing without it.
"""
import functools
import os
import pathlib
import subprocess

import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/pg-rejoin"
LIBRARY = CHART / "charts/pg-rejoin-library"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))


def script(name):
    """A script of the chart or of its library."""
    [found] = CHART.rglob(f"files/{name}")
    return found


def helm_program(major):
    if os.environ.get(f"HELM{major}"):
        return os.environ[f"HELM{major}"]
    caches = [os.environ.get("PG_REJOIN_CACHE"), pathlib.Path.home() / ".cache/pg-rejoin", "/var/cache/pg-rejoin"]
    name = {3: "helm3", 4: "helm"}[major]
    for cache in filter(None, caches):
        program = pathlib.Path(cache) / "bin" / name
        if program.exists():
            return str(program)
    pytest.fail(f"no Helm {major}: run e2e/cluster/cluster deps, or set HELM{major}", pytrace=False)


class Helm:
    """One Helm. Answers are cached: many tests look at the same output."""

    def __init__(self, program):
        self.program = program
        self._run = functools.lru_cache(maxsize=None)(self._run_uncached)

    def _run_uncached(self, *arguments):
        return subprocess.run([self.program, *arguments], capture_output=True, text=True, timeout=60, check=False)

    def run(self, *arguments):
        return self._run(*map(str, arguments))

    def text(self, *arguments, release="r", namespace="ns", hooks=False):
        skip = () if hooks else ("--skip-tests",)
        result = self.run("template", release, CHART, "--namespace", namespace, *skip, *arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def objects(self, *arguments, minimal=True, **kwargs):
        if minimal:
            arguments = ("--set", "auth.existingSecret=credentials", *arguments)
        return [o for o in yaml.safe_load_all(self.text(*arguments, **kwargs)) if o]

    def error(self, *arguments):
        result = self.run("template", "r", CHART, "--set", "auth.existingSecret=credentials", *arguments)
        assert result.returncode != 0, f"Helm accepted {arguments}"
        return result.stderr


@functools.lru_cache(maxsize=None)
def helm_of(major):
    helm = Helm(helm_program(major))
    version = helm.run("version", "--template", "{{.Version}}").stdout
    assert version.startswith(f"v{major}."), f"{helm.program} is {version}, not Helm {major}"
    return helm


@pytest.fixture(params=[3, 4], ids=["helm3", "helm4"])
def helm(request):
    return helm_of(request.param)


class Rendered:
    """The objects of one rendering, by kind and name."""

    def __init__(self, objects):
        self.objects = objects

    def all(self, kind):
        return [o for o in self.objects if o["kind"] == kind]

    def one(self, kind, name=None):
        found = [o for o in self.all(kind) if name in (None, o["metadata"]["name"])]
        assert len(found) == 1, f"{len(found)} objects {kind} {name}"
        return found[0]

    @property
    def pod(self):
        return self.one("StatefulSet")["spec"]["template"]

    @property
    def containers(self):
        spec = self.pod["spec"]
        return {c["name"]: c for c in spec["initContainers"] + spec["containers"]}

    def env(self, container):
        """Name to value; what comes from a field, as "field:path"."""
        env = {}
        for variable in self.containers[container]["env"]:
            assert variable["name"] not in env, f"{variable['name']} twice in {container}"
            field = variable.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath")
            env[variable["name"]] = f"field:{field}" if field else variable["value"]
        return env

    def mounts(self, container):
        return {m["mountPath"]: m for m in self.containers[container]["volumeMounts"]}

    @property
    def volumes(self):
        return {v["name"]: v for v in self.pod["spec"]["volumes"]}


@pytest.fixture
def render(helm):
    def render_(*arguments, **kwargs):
        return Rendered(helm.objects(*arguments, **kwargs))

    return render_


@pytest.fixture
def default(render):
    return render()
