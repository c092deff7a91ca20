"""A cluster of two pods that a real Patroni 4 keeps, from the manifests in patroni/, as the tests see it."""
import json

import yaml

from release import HERE, NAME, Release, cluster, eventually, node_gone

OTHER = {f"{NAME}-0": f"{NAME}-1", f"{NAME}-1": f"{NAME}-0"}
# A leader is missed sooner than with the manifests' values, no lag keeps a standby from being promoted, since the tests
# are about what it lacks, and nothing but the tests commits.
QUICK = {"ttl": 20, "loop_wait": 2, "retry_timeout": 5, "maximum_lag_on_failover": 1 << 40}
PARAMETERS = {"autovacuum": "off"}
CALLS_REWIND = "running pg_rewind from dbname="  # in Patroni's log


class Patroni(Release):
    def __init__(self, namespace, image, passwords, patroni_image):
        super().__init__(namespace, image, passwords)
        self.images = {"pg-rejoin": image, "patroni": patroni_image}

    # ---- life

    def install(self, variant, settings=None, init_containers=0):  # pylint: disable=arguments-differ
        """Applies the manifests of that folder, with as many init containers as are asked for: those that it has not
        got do nothing."""
        self.make_namespace()
        manifests = list(yaml.safe_load_all(cluster("exec", "kubectl", "kustomize", HERE / "patroni" / variant)))
        for manifest in manifests:
            if manifest["kind"] == "ConfigMap":
                self._set(manifest["data"], settings or QUICK)
            if manifest["kind"] == "StatefulSet":
                self._fill(manifest["spec"]["template"]["spec"], init_containers)
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))
        eventually("two pods are ready", lambda: len(self.ready_pods()) == 2, timeout=180)
        self.wait_streams(*self.roles())

    @staticmethod
    def _set(data, settings):
        config = yaml.safe_load(data["patroni.yml"])
        dynamic = config["bootstrap"]["dcs"]
        dynamic.update(settings)
        dynamic["postgresql"]["parameters"].update(PARAMETERS)
        data["patroni.yml"] = yaml.safe_dump(config)

    def _fill(self, spec, init_containers):
        have = spec.setdefault("initContainers", [])
        main = spec["containers"][0]
        for number in range(len(have), init_containers):
            have.append({"name": f"nothing-{number}", "image": main["image"], "command": ["true"],
                         "securityContext": main["securityContext"]})
        for container in have + spec["containers"]:
            container["image"] = self.images[container["image"]]

    # ---- looking

    def leader(self):
        """By Patroni's lock."""
        return self.get("endpoints", NAME)["metadata"].get("annotations", {}).get("leader")

    def roles(self):
        leader = eventually("there is a leader", self.leader)
        return leader, OTHER[leader]

    def log(self, pod):
        """Of Patroni and the server."""
        return self.logs(pod, "postgres")

    def dump(self):
        return f"{super().dump()}\n{self.kubectl('get', 'endpoints', '-o', 'yaml', check=False).stdout[-6000:]}"

    # ---- doing

    def cut(self, standby):
        """Not by a setting, which Patroni would mend."""
        self.hold_back(OTHER[standby])

    def fail_over(self, old, new):
        """The leader is lost, and its pod kept away until the standby leads."""
        with node_gone():
            self.lose(old)
            eventually(f"{new} leads", lambda: self.leader() == new and self.is_read_write(new), 90)

    def switch_over(self, old, new):
        """As a person does, by Patroni's API."""
        address = self.get("pod", old)["status"]["podIP"]
        cluster("exec", "curl", "--silent", "--show-error", "--fail-with-body", f"http://{address}:8008/switchover",
                "--data", json.dumps({"leader": old, "candidate": new}))
        eventually(f"{new} leads", lambda: self.leader() == new and self.is_read_write(new), 60)

    # ---- what must hold

    def assert_timeline(self, standby, timeline):
        assert self.sql(standby, "SELECT received_tli FROM pg_stat_wal_receiver") == str(timeline)
