#!/usr/bin/env python3
"""A small HTTPS server that behaves as a Kubernetes API server does, well or badly.

usage: fake_api_server.py DIRECTORY
Makes a certificate authority (ca.crt), another one (other-ca.crt) and a client certificate in
DIRECTORY, listens on a free port of 127.0.0.1, prints the port and serves until standard input ends.

A watch of ConfigMaps tells of the record. The last path segment of a pod or ConfigMap chooses the mood: see Handler.answer(). Every request is
remembered; GET /_requests returns them as JSON.
"""
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time

TOKEN_FILE = "token"  # in DIRECTORY; the test changes it between requests


def openssl(directory, *arguments):
    subprocess.run(["openssl", *arguments], cwd=directory, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def make_certificates(directory):
    for name in ("ca", "other-ca"):
        openssl(directory, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}")
    for name, extension in (("server", "subjectAltName=IP:127.0.0.1\n"),
                            ("client", "extendedKeyUsage=clientAuth\n")):
        with open(os.path.join(directory, f"{name}.ext"), "w", encoding="utf-8") as file:
            file.write(extension)
        openssl(directory, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key",
                "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey",
                "ca.key", "-CAcreateserial", "-days", "2", "-extfile", f"{name}.ext",
                "-out", f"{name}.crt")


class State:
    def __init__(self, directory):
        self.directory = directory
        self.lock = threading.Lock()
        self.requests = []
        self.config_map = {"resourceVersion": 7, "data": {}}

    def token(self):
        with open(os.path.join(self.directory, TOKEN_FILE), encoding="utf-8") as file:
            return file.read().strip()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        pass

    def send_json(self, status, value):
        self.send_text(status, json.dumps(value))

    def send_text(self, status, text, announced=None):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(announced or len(body)))
        self.end_headers()
        self.wfile.write(body)

    def failure(self, status, message):
        self.send_json(status, {"kind": "Status", "code": status, "message": message})

    def handle_any(self):
        state = self.server.state
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        path = self.path.split("?")[0]
        if path == "/_requests":
            self.send_json(200, state.requests)
            return
        with state.lock:
            state.requests.append({
                "method": self.command, "path": self.path, "body": body,
                "contentType": self.headers.get("Content-Type", ""),
                "authorization": self.headers.get("Authorization", ""),
                "client": self.connection.getpeercert().get("subject", "")
                if self.connection.getpeercert() else ""})
        certified = bool(self.connection.getpeercert())
        if not certified and self.headers.get("Authorization") != "Bearer " + state.token():
            self.failure(401, "Unauthorized")
            return
        self.answer(state, path, body)

    do_GET = do_PATCH = do_POST = do_PUT = handle_any

    def answer(self, state, path, body):
        name = path.rsplit("/", 1)[1]
        if name.startswith("status-"):
            self.failure(int(name.removeprefix("status-")), "as you \u001b[31mwish")
        elif name.startswith("flaky-"):
            # Fails this many times, then works.
            seen = sum(1 for request in state.requests if request["path"] == self.path)
            if seen <= int(name.removeprefix("flaky-")):
                self.failure(503, "busy")
            else:
                self.send_json(200, self.pod(name))
        elif name == "slow":
            time.sleep(3)
            self.send_json(200, self.pod(name))
        elif name == "drip":
            self.drip()
        elif name == "truncated":
            self.send_text(200, '{"metadata": {"name": "trunc', announced=500)
            self.close_connection = True
        elif name == "cut-json":
            self.send_text(200, '{"metadata": {"name": "cut')
        elif name == "no-json":
            self.send_text(200, "<html>proxy login</html>")
        elif name == "wrong-types":
            self.send_text(200, '{"metadata": {"name": 5, "labels": []}}')
        elif name == "deep":
            self.send_text(200, "[" * 20000)
        elif name == "huge":
            self.send_text(200, '"' + "x" * (17 * 1024 * 1024) + '"')
        elif name == "hang-up":
            self.close_connection = True
        elif name == "authority":
            self.authority(state, body)
        elif name == "configmaps" and "watch=true" in self.path:
            self.watch(state)
        elif name == "endpointslices":
            self.send_json(200, self.slices())
        elif name == "selfsubjectaccessreviews":
            self.review(json.loads(body)["spec"]["resourceAttributes"]["verb"])
        elif name == "pods" and self.command == "GET":
            self.pods()
        elif self.command == "PATCH" and path.rsplit("/", 2)[1] == "pods":
            self.patch_pod(state, name, body)
        elif self.command == "POST":
            self.send_json(201, json.loads(body))
        else:
            self.send_json(200, self.pod(name))

    def review(self, verb):
        """Who asks may get, and not patch; of deletion the server does not say, and it fails for all else."""
        statuses = {"get": {"allowed": True}, "patch": {"allowed": False, "reason": "no"}, "delete": {}}
        if verb in statuses:
            self.send_json(201, {"status": statuses[verb]})
        else:
            self.failure(403, "no")

    def drip(self):
        text = json.dumps(self.pod("drip"))
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        try:
            for character in text:
                self.wfile.write(character.encode())
                self.wfile.flush()
                time.sleep(0.2)
        except OSError:
            pass  # the client has lost its patience

    @staticmethod
    def pod(name):
        return {"metadata": {"name": name, "uid": "uid-" + name,
                             "labels": {"pg-rejoin.io/role": "primary"},
                             "annotations": {"pg-rejoin.io/outcome": "started"}},
                "status": {"phase": "Running", "podIP": "10.0.0.7"}}

    def pods(self):
        """Two pages."""
        if "continue=more" in self.path:
            self.send_json(200, {"items": [self.pod("x-1")], "metadata": {}})
        else:
            self.send_json(200, {"items": [self.pod("x-0")], "metadata": {"continue": "more"}})

    @staticmethod
    def slices():
        return {"items": [{"endpoints": [
            {"addresses": ["10.0.0.7"], "conditions": {"ready": True},
             "targetRef": {"kind": "Pod", "name": "x-0"}},
            {"addresses": ["10.0.0.8"], "conditions": {"ready": False},
             "targetRef": {"kind": "Pod", "name": "x-1"}},
            {"addresses": ["10.0.0.9"]}]}, {"endpoints": None}]}

    def authority(self, state, body):
        with state.lock:
            held = state.config_map
            if self.command == "PATCH":
                patch = json.loads(body)
                if patch["metadata"]["resourceVersion"] != str(held["resourceVersion"]):
                    self.failure(409, "the object has been modified")
                    return
                held["resourceVersion"] += 1
                for key, value in patch["data"].items():
                    held["data"].pop(key, None)
                    if value is not None:
                        held["data"][key] = value
            self.send_json(200, {"metadata": {"name": "authority",
                                              "resourceVersion": str(held["resourceVersion"])},
                                 "data": held["data"] or None})

    def watch(self, state):
        """The record as it is, then each change, until timeoutSeconds are over."""
        seconds = int(self.path.split("timeoutSeconds=")[1].split("&")[0])
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        end, told, kind = time.monotonic() + seconds, None, "ADDED"
        while time.monotonic() < end:
            with state.lock:
                version = state.config_map["resourceVersion"]
            if version != told:
                event = json.dumps({"type": kind, "object": {"metadata": {"resourceVersion": str(version)}}}) + "\n"
                # In two parts: a line need not come at once.
                for part in (event[:10], event[10:]):
                    self.wfile.write(f"{len(part):x}\r\n{part}\r\n".encode())
                    self.wfile.flush()
                told, kind = version, "MODIFIED"
            time.sleep(0.02)
        self.wfile.write(b"0\r\n\r\n")

    def patch_pod(self, state, name, body):
        sent = json.loads(body)["metadata"]["uid"]
        if sent != "uid-" + name:
            self.failure(422, "metadata.uid: field is immutable")
            return
        if name == "conflict-once":
            seen = sum(1 for request in state.requests if request["method"] == "PATCH"
                       and request["path"].endswith("/conflict-once"))
            if seen == 1:
                self.failure(409, "conflict")
                return
        self.send_json(200, self.pod(name))


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        # Clients that lose their patience, or do not trust us, are what the tests are about.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main():
    directory = sys.argv[1]
    make_certificates(directory)
    server = Server(("127.0.0.1", 0), Handler)
    server.state = State(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(directory, "server.crt"),
                            os.path.join(directory, "server.key"))
    context.load_verify_locations(os.path.join(directory, "ca.crt"))
    context.verify_mode = ssl.CERT_OPTIONAL
    # The handshake belongs to the connection's own thread: a client that hangs up disturbs nobody.
    server.socket = context.wrap_socket(server.socket, server_side=True,
                                        do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
