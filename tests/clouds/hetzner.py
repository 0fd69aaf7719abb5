"""Hetzner Cloud's API, as far as hitc uses it: https://docs.hetzner.cloud/reference/cloud.

That it is faithful is seen by Hetzner's own client for Python, which is driven against it
(`hetzner_client.py`).
"""

import os
import re
from datetime import datetime, timezone

from cloud import Cloud, Refused, later, page, serve

LOCATIONS = [("fsn1", "DE", "eu-central"), ("nbg1", "DE", "eu-central"), ("ash", "US", "us-east")]
# Processors, memory in GB, disk in GB, an hour, a month.
TYPES = {
    "cx23": (2, 4.0, 40, "0.0056", "3.4900", "x86"),
    "cx33": (4, 8.0, 80, "0.0088", "5.4900", "x86"),
    "cax11": (2, 4.0, 40, "0.0060", "3.7900", "arm"),
}
IMAGES = ["debian-12", "debian-13", "ubuntu-22.04", "ubuntu-24.04"]


def location(name):
    number = [known[0] for known in LOCATIONS].index(name)
    name, country, zone = LOCATIONS[number]
    return {
        "id": number + 1,
        "name": name,
        "description": name,
        "country": country,
        "city": name,
        "latitude": 50.0,
        "longitude": 12.0,
        "network_zone": zone,
    }


def server_type(name):
    cores, memory, disk, hour, month, architecture = TYPES[name]
    # Not everything is to be had everywhere.
    places = [known[0] for known in LOCATIONS if name != "cax11" or known[0] != "ash"]
    return {
        "id": list(TYPES).index(name) + 1,
        "name": name,
        "description": name.upper(),
        "cores": cores,
        "memory": memory,
        "disk": disk,
        "deprecated": False,
        "deprecation": None,
        "storage_type": "local",
        "cpu_type": "shared",
        "category": "cost_optimized",
        "architecture": architecture,
        "prices": [
            {
                "location": place,
                "price_hourly": {"net": hour, "gross": hour},
                "price_monthly": {"net": month, "gross": month},
                "included_traffic": 21990232555520,
                "price_per_tb_traffic": {"net": "1.0", "gross": "1.19"},
            }
            for place in places
        ],
    }


def image(name, architecture):
    return {
        "id": 100 + IMAGES.index(name) + (50 if architecture == "arm" else 0),
        "type": "system",
        "status": "available",
        "name": name,
        "description": name.replace("-", " ").title(),
        "image_size": None,
        "disk_size": 5,
        "created": "2026-01-01T00:00:00+00:00",
        "created_from": None,
        "bound_to": None,
        "os_flavor": name.split("-")[0],
        "os_version": name.split("-")[1],
        "rapid_deploy": True,
        "protection": {"delete": False},
        "deprecated": None,
        "deleted": None,
        "labels": {},
        "architecture": architecture,
    }


ALL_IMAGES = [image(name, architecture) for architecture in ("x86", "arm") for name in IMAGES]


def error(status, code, message):
    return Refused(status, {"error": {"code": code, "message": message, "details": {}}})


def listing(key, items, query):
    found, number, last = page(items, query, 50)
    pagination = {
        "page": number,
        "per_page": int(query.get("per_page", 25)),
        "previous_page": number - 1 if number > 1 else None,
        "next_page": number + 1 if number < last else None,
        "last_page": last,
        "total_entries": len(items),
    }
    return 200, {key: found, "meta": {"pagination": pagination}}


def check_labels(labels):
    """https://docs.hetzner.cloud/reference/cloud#labels"""
    for key, value in labels.items():
        name = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
        if not re.fullmatch(name, key) or value and not re.fullmatch(name, value):
            raise error(422, "invalid_input", f"invalid label {key}={value}")


class Hetzner(Cloud):
    def __init__(self):
        super().__init__()
        self.servers = {}
        self.keys = {}
        self.firewalls = []
        self.actions = {}
        self.limit = int(os.environ.get("SERVER_LIMIT", "100000"))
        self.routes = [
            ("GET", "/v1/servers", self.list_servers),
            ("POST", "/v1/servers", self.create),
            ("GET", "/v1/servers/([0-9]+)", lambda n, query, body: (200, {"server": self.find(n)})),
            ("PUT", "/v1/servers/([0-9]+)", self.update),
            ("DELETE", "/v1/servers/([0-9]+)", self.delete),
            ("POST", "/v1/servers/([0-9]+)/actions/([a-z_]+)", self.act),
            ("GET", "/v1/actions/([0-9]+)", self.get_action),
            ("GET", "/v1/actions", self.list_actions),
            ("GET", "/v1/server_types", self.named("server_types", [server_type(name) for name in TYPES])),
            ("GET", "/v1/locations", self.named("locations", [location(known[0]) for known in LOCATIONS])),
            ("GET", "/v1/images", self.list_images),
            ("GET", "/v1/networks", self.named("networks", [])),
            ("GET", "/v1/ssh_keys", lambda query, body: listing("ssh_keys", list(self.keys.values()), query)),
            ("POST", "/v1/ssh_keys", self.add_key),
            # https://docs.hetzner.cloud/reference/cloud#firewalls-list-firewalls
            ("GET", "/v1/firewalls", lambda query, body: listing("firewalls", self.firewalls, query)),
        ]

    def named(self, key, items):
        def handler(query, body):
            found = [item for item in items if query.get("name") in (None, item["name"])]
            return listing(key, found, query)

        return handler

    def control(self, method, path, body):
        if path == "/_servers":
            for name, labels in body:
                self.make(name, "cx23", ALL_IMAGES[1], "fsn1", labels, "running")
            return 200, {}
        if path == "/_labels":
            # As if somebody had changed them at the provider's page.
            for name, labels in body:
                for server in self.servers.values():
                    if server["name"] == name:
                        server["labels"] = labels
            return 200, {}
        if path == "/_firewall":
            # As if somebody had made one at the provider's page and applied it to all servers.
            servers = [{"type": "server", "server": {"id": number}} for number in self.servers]
            firewall = {"id": self.number(), "labels": {}, "created": "2026-01-01T00:00:00+00:00"}
            self.firewalls.append({**firewall, "applied_to": servers, **body})
            return 200, {}
        return super().control(method, path, body)

    def stop(self, name):
        for server in self.servers.values():
            if server["name"] == name:
                self.machines.stop(server["id"])
                server["status"] = "off"

    def shift(self):
        with self.lock:
            self.servers.pop(min(self.servers, default=None), None)

    def count(self):
        return len(self.servers)

    def unauthorized(self):
        return 401, {"error": {"code": "unauthorized", "message": "the token is not valid", "details": None}}

    def not_found(self):
        return 404, {"error": {"code": "not_found", "message": "not found", "details": None}}

    def find(self, number):
        server = self.servers.get(int(number))
        if server is None:
            raise error(404, "not_found", f"server with ID '{number}' not found")
        return server

    def list_servers(self, query, body):
        selector = query.get("label_selector")
        with self.lock:
            found = [
                server
                for server in self.servers.values()
                if query.get("name") in (None, server["name"]) and (selector is None or selector in server["labels"])
            ]
        return listing("servers", found, query)

    def list_images(self, query, body):
        found = [
            image
            for image in ALL_IMAGES
            if query.get("architecture") in (None, image["architecture"]) and query.get("name") in (None, image["name"])
        ]
        return listing("images", found, query)

    def add_key(self, query, body):
        with self.lock:
            if any(body[part] == key[part] for key in self.keys.values() for part in ("name", "public_key")):
                raise error(409, "uniqueness_error", "SSH key not unique")
            number = self.number()
            self.keys[number] = {
                "id": number,
                "fingerprint": ":".join(["ab"] * 16),
                "labels": {},
                "created": "2026-01-01T00:00:00+00:00",
                **body,
            }
        return 201, {"ssh_key": self.keys[number]}

    def make(self, name, kind, of, where, labels, status):
        number = self.number()
        server = {
            "id": number,
            "name": name,
            "status": status,
            "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S+00:00"),
            "public_net": {
                "ipv4": {"id": number, "ip": f"192.0.2.{number % 250 + 1}", "blocked": False, "dns_ptr": "x"},
                "ipv6": None,
                "floating_ips": [],
                "firewalls": [],
            },
            "private_net": [],
            "server_type": server_type(kind),
            "location": location(where),
            "image": of,
            "iso": None,
            "rescue_enabled": False,
            "locked": False,
            "backup_window": None,
            "outgoing_traffic": 0,
            "ingoing_traffic": 0,
            "included_traffic": 0,
            "protection": {"delete": False, "rebuild": False},
            "labels": labels,
            "volumes": [],
            "load_balancers": [],
            "primary_disk_size": 40,
            "placement_group": None,
        }
        self.servers[number] = server
        return server

    def begin(self, command, server, work):
        """An action, which is done beside everything else."""
        action = {
            "id": self.number(),
            "command": command,
            "status": "running",
            "progress": 0,
            "started": "2026-01-01T00:00:00+00:00",
            "finished": None,
            "resources": [{"id": server["id"], "type": "server"}],
            "error": None,
        }
        self.actions[action["id"]] = action

        def run():
            work()
            action["progress"] = 100
            action["finished"] = "2026-01-01T00:00:01+00:00"
            action["status"] = "success"

        answer = dict(action)
        later(run)
        return answer

    def create(self, query, body):
        with self.lock:
            if any(server["name"] == body["name"] for server in self.servers.values()):
                raise error(409, "uniqueness_error", "server name is already used")
            if len(self.servers) >= self.limit:
                raise error(403, "resource_limit_exceeded", "server limit exceeded")
            check_labels(body.get("labels") or {})
            images = [i for i in ALL_IMAGES if body["image"] in (i["id"], str(i["id"]), i["name"])]
            kind = body["server_type"]
            if isinstance(kind, int) or str(kind).isdigit():
                kind = list(TYPES)[int(kind) - 1]
            if kind not in TYPES or not images:
                raise error(422, "invalid_input", "invalid input in field 'server_type' or 'image'")
            if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?", body["name"]):
                raise error(422, "invalid_input", "invalid input in field 'name'")
            where = body.get("location") or "fsn1"
            if isinstance(where, int) or str(where).isdigit():
                where = LOCATIONS[int(where) - 1][0]
            wanted = [key if isinstance(key, int) else 0 for key in body.get("ssh_keys") or []]
            keys = [self.keys[key]["public_key"] for key in wanted if key in self.keys]
            server = self.make(body["name"], kind, images[0], where, body.get("labels") or {}, "initializing")

        def boot():
            server["public_net"]["ipv4"]["ip"] = self.machines.make(server["id"], keys)
            server["status"] = "running"

        action = self.begin("create_server", server, boot)
        return 201, {"server": dict(server), "action": action, "next_actions": [], "root_password": None}

    def update(self, number, query, body):
        with self.lock:
            server = self.find(number)
            if any(s["name"] == body.get("name") and s is not server for s in self.servers.values()):
                raise error(409, "uniqueness_error", "server name is already used")
            check_labels(body.get("labels") or {})
            server.update({key: body[key] for key in ("name", "labels") if body.get(key) is not None})
        return 200, {"server": server}

    def delete(self, number, query, body):
        with self.lock:
            server = self.find(number)
            del self.servers[int(number)]
        return 200, {"action": self.begin("delete_server", server, lambda: self.machines.remove(int(number)))}

    def act(self, number, command, query, body):
        server = self.find(number)
        number = server["id"]
        if command == "change_type" and server["status"] != "off":
            raise error(422, "server_not_stopped", "server must be stopped before changing the type")

        def work():
            if command == "reboot":
                self.machines.restart(number)
            elif command in ("shutdown", "poweroff"):
                self.machines.stop(number)
                server["status"] = "off"
            elif command == "poweron":
                self.machines.start(number)
                server["status"] = "running"
            elif command == "change_type":
                server["server_type"] = server_type(body["server_type"])

        return 201, {"action": self.begin(command, server, work)}

    def get_action(self, number, query, body):
        return 200, {"action": self.actions[int(number)]}

    def list_actions(self, query, body):
        wanted = query.get("id")
        found = [a for a in self.actions.values() if wanted is None or str(a["id"]) == wanted]
        return listing("actions", found, query)


if __name__ == "__main__":
    serve(Hetzner())
