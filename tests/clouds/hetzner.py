"""Hetzner Cloud's API, as far as hitc uses it: https://docs.hetzner.cloud/reference/cloud.

That it is faithful is seen by Hetzner's own client for Python, which is driven against it
(`hetzner_client.py`).
"""

import math
import os
import re
import time
from datetime import datetime, timezone
from decimal import Decimal

from cloud import Bucket, Cloud, Refused, later, page, serve

LOCATIONS = [("fsn1", "DE", "eu-central"), ("nbg1", "DE", "eu-central"), ("ash", "US", "us-east")]
# Processors, memory in GB, disk in GB, an hour, a month.
TYPES = {
    "cx23": (2, 4.0, 40, "0.0056", "3.4900", "x86"),
    "cx33": (4, 8.0, 80, "0.0088", "5.4900", "x86"),
    "cax11": (2, 4.0, 40, "0.0060", "3.7900", "arm"),
    # Sold out in fsn1, and no longer offered in nbg1.
    "cpx11": (2, 2.0, 40, "0.0072", "4.4900", "x86"),
}
# In percent; that of the owner of the project.
VAT = 19
IPV4 = ("0.0008", "0.5000")
IMAGES = ["debian-12", "debian-13", "ubuntu-22.04", "ubuntu-24.04"]


def price(net):
    """Net, and with tax (https://docs.hetzner.cloud/reference/cloud#pricing-get-all-prices)."""
    return {"net": net, "gross": f"{Decimal(net) * (100 + VAT) / 100:.16f}"}


def prices(hour, month, places):
    return [
        {
            "location": place,
            "price_hourly": price(hour),
            "price_monthly": price(month),
        }
        for place in places
    ]


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
        # https://docs.hetzner.cloud/changelog#2025-09-24-per-location-server-types
        "locations": [
            {
                "id": location(place)["id"],
                "name": place,
                "available": (name, place) not in (("cpx11", "fsn1"), ("cpx11", "nbg1")),
                "recommended": False,
                "deprecation": {
                    "announced": "2025-09-01T00:00:00+00:00",
                    "unavailable_after": "2025-12-01T00:00:00+00:00",
                }
                if (name, place) == ("cpx11", "nbg1")
                else None,
            }
            for place in places
        ],
        "prices": [
            {
                **known,
                "included_traffic": 21990232555520,
                "price_per_tb_traffic": price("1.0"),
            }
            for known in prices(hour, month, places)
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


# The lists that say how many items there are.
TOTALS = {"servers"}


def listing(key, items, query):
    found, number, last = page(items, query, 50)
    pagination = {
        "page": number,
        "per_page": int(query.get("per_page", 25)),
        "previous_page": number - 1 if number > 1 else None,
        "next_page": number + 1 if number < last else None,
        "last_page": last,
        # It may be null (https://docs.hetzner.cloud/reference/cloud#pagination).
        "total_entries": len(items) if key in TOTALS else None,
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
        self.volumes = {}
        # Those of volumes that have an action.
        self.at_work = set()
        self.orders = []
        self.addresses = []
        self.keys = {}
        # The snapshots of servers, and what is on their disks.
        self.snapshots, self.disks = {}, {}
        self.firewalls = []
        self.actions = {}
        self.limit = int(os.environ.get("SERVER_LIMIT", "100000"))
        # 3600 requests an hour, of which one comes back each second
        # (https://docs.hetzner.cloud/reference/cloud#rate-limiting).
        self.bucket = Bucket(3600, 1)
        self.settings_changed(self.settings)
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
            # https://docs.hetzner.cloud/reference/cloud#primary-ips
            ("GET", "/v1/primary_ips", lambda query, body: listing("primary_ips", self.addresses, query)),
            ("GET", "/v1/pricing", self.pricing),
            ("GET", "/v1/images", self.list_images),
            ("GET", "/v1/images/([0-9]+)", lambda n, query, body: (200, {"image": self.find_image(n)})),
            ("DELETE", "/v1/images/([0-9]+)", self.delete_image),
            ("GET", "/v1/networks", self.named("networks", [])),
            ("GET", "/v1/ssh_keys", lambda query, body: listing("ssh_keys", list(self.keys.values()), query)),
            ("POST", "/v1/ssh_keys", self.add_key),
            # https://docs.hetzner.cloud/reference/cloud#volumes
            ("GET", "/v1/volumes", self.list_volumes),
            ("POST", "/v1/volumes", self.create_volume),
            ("GET", "/v1/volumes/([0-9]+)", lambda n, query, body: (200, {"volume": self.find_volume(n)})),
            ("DELETE", "/v1/volumes/([0-9]+)", self.delete_volume),
            ("POST", "/v1/volumes/([0-9]+)/actions/([a-z_]+)", self.act_on_volume),
            # https://docs.hetzner.cloud/reference/cloud#firewalls-list-firewalls
            ("GET", "/v1/firewalls", lambda query, body: listing("firewalls", self.firewalls, query)),
        ]

    def named(self, key, items):
        def handler(query, body):
            found = [item for item in items if query.get("name") in (None, item["name"])]
            return listing(key, found, query)

        return handler

    def settings_changed(self, changed):
        if changed.get("requests") is not None:
            self.bucket.take(self.clock.now())
            self.bucket.left = changed["requests"]
        if changed.get("totals") is not None:
            TOTALS.clear()
            TOTALS.update(changed["totals"])

    def limit_requests(self, method, path):
        # https://docs.hetzner.cloud/reference/cloud#errors
        if self.settings["scopes"] == ["read"] and method != "GET":
            raise error(403, "token_readonly", "The token is only allowed to perform GET requests")
        waits = self.bucket.take(self.clock.now())
        headers = {
            "RateLimit-Limit": self.bucket.most,
            "RateLimit-Remaining": math.floor(self.bucket.left),
            # When the bucket is full again. There is no Retry-After
            # (https://github.com/vitobotta/hetzner-k3s/issues/64).
            "RateLimit-Reset": math.ceil(time.time() + self.clock.real(self.bucket.full())),
        }
        if waits is None:
            return headers
        text = "limit of 3600 requests per hour reached"
        raise Refused(429, {"error": {"code": "rate_limit_exceeded", "message": text, "details": None}}, headers)

    def control(self, method, path, body):
        if path == "/_servers":
            for name, labels in body:
                server = self.make(name, "cx23", ALL_IMAGES[1], "fsn1", labels, "running")
                del self.shown[server["id"]]
            return 200, {}
        if path == "/_act":
            # As if somebody had done it at the provider's page.
            name, command = body
            for number, server in list(self.servers.items()):
                if server["name"] == name:
                    self.act(number, command, {}, {})
            return 200, {}
        if path == "/_orders":
            return 200, self.orders
        if path == "/_images":
            return 200, list(self.snapshots.values())
        if path == "/_labels":
            # As if somebody had changed them at the provider's page.
            for name, labels in body:
                for server in self.servers.values():
                    if server["name"] == name:
                        server["labels"] = labels
            return 200, {}
        if path == "/_volumes":
            return 200, list(self.volumes.values())
        if path == "/_volume":
            # As if somebody had changed it at the provider's page.
            name, changes = body
            for volume in self.volumes.values():
                if volume["name"] == name:
                    volume.update(changes)
            return 200, {}
        if path == "/_address":
            # As if somebody had made one at the provider's page.
            number = self.number()
            address = {
                "id": number,
                "name": body,
                "type": "ipv4",
                "ip": f"192.0.2.{number % 250 + 1}",
                "assignee_id": None,
                "assignee_type": "server",
                "auto_delete": False,
                "blocked": False,
                "created": "2026-01-01T00:00:00+00:00",
                "dns_ptr": [],
                "labels": {},
                "location": location("fsn1"),
                "protection": {"delete": False},
            }
            self.addresses.append(address)
            return 200, address
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
                for server in self.listed(self.servers.values())
                if query.get("name") in (None, server["name"]) and (selector is None or selector in server["labels"])
            ]
        return listing("servers", found, query)

    def pricing(self, query, body):
        places = [known[0] for known in LOCATIONS]
        types = [server_type(name) for name in TYPES]
        return 200, {
            "pricing": {
                "currency": self.settings.get("currency", "EUR"),
                "vat_rate": f"{VAT}.000000",
                "primary_ips": [
                    {"type": "ipv4", "prices": prices(*IPV4, places)},
                    {"type": "ipv6", "prices": prices("0.0000", "0.0000", places)},
                ],
                "server_types": [{key: kind[key] for key in ("id", "name", "prices")} for kind in types],
                "volume": {"price_per_gb_month": price("0.0440")},
                "server_backup": {"percentage": "20.0000000000"},
            }
        }

    def list_images(self, query, body):
        selector = query.get("label_selector")
        with self.lock:
            all = ALL_IMAGES + self.listed(self.snapshots.values(), "image")
        found = [
            image
            for image in all
            if query.get("architecture") in (None, image["architecture"])
            and query.get("name") in (None, image["name"])
            and query.get("type") in (None, image["type"])
            and (selector is None or selector in image["labels"])
        ]
        return listing("images", found, query)

    def find_image(self, number):
        for image in [*ALL_IMAGES, *self.snapshots.values()]:
            if image["id"] == int(number):
                return image
        raise error(404, "not_found", f"image with ID '{number}' not found")

    def delete_image(self, number, query, body):
        with self.lock:
            image = self.find_image(number)
            if image["type"] == "system":
                raise error(403, "forbidden", "system images cannot be deleted")
            del self.snapshots[image["id"]]
            self.ends(image, "image")
        return 204, None

    def create_image(self, server, body):
        """https://docs.hetzner.cloud/reference/cloud#server-actions-create-image-from-a-server: the image is there
        at once, `creating`. A description need not be unique."""
        check_labels(body.get("labels") or {})
        image = {
            **ALL_IMAGES[1],
            "id": self.number(),
            "type": "snapshot",
            "status": "creating",
            "name": None,
            "description": body.get("description") or "snapshot",
            "disk_size": server["primary_disk_size"],
            "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S+00:00"),
            "created_from": {"id": server["id"], "name": server["name"]},
            "rapid_deploy": False,
            "labels": body.get("labels") or {},
            "architecture": server["server_type"]["architecture"],
        }

        def work():
            self.disks[image["id"]] = self.machines.save(server["id"])
            image.update(status="available", image_size=2.3)

        def fail():
            image.update(status="unavailable")

        answer = dict(image)
        is_failed = "create_image" in self.settings.get("fails", [])
        action = self.begin("create_image", server, fail if is_failed else work)
        with self.lock:
            self.snapshots[image["id"]] = image
            self.begins(image)
        return 201, {"image": answer, "action": action}

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

    def make(self, name, kind, of, where, labels, status, net={}):
        number = self.number()
        server = {
            "id": number,
            "name": name,
            "status": status,
            "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S+00:00"),
            "public_net": {
                "ipv4": {"id": number, "ip": f"192.0.2.{number % 250 + 1}", "blocked": False, "dns_ptr": "x"}
                if net.get("enable_ipv4", True)
                else None,
                "ipv6": {"id": number, "ip": f"2001:db8:{number:x}::/64", "blocked": False, "dns_ptr": []}
                if net.get("enable_ipv6", True)
                else None,
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
            "primary_disk_size": TYPES[kind][2],
            "placement_group": None,
        }
        self.servers[number] = server
        self.begins(server)
        return server

    def begin(self, command, server, work, meanwhile=None):
        """An action, which is done beside everything else. The server is locked and has the status
        `meanwhile` until then (https://docs.hetzner.cloud/reference/cloud#errors, `locked`)."""
        with self.lock:
            if server["locked"]:
                text = "server is locked by another action"
                raise error(423, "locked", text)
            server["locked"] = True
            server["status"] = meanwhile or server["status"]
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
            self.clock.wait(self.takes("deletion" if command == "delete_server" else command))
            work()
            with self.lock:
                action["progress"] = 100
                action["finished"] = "2026-01-01T00:00:01+00:00"
                action["status"] = "success"
                server["locked"] = False

        answer = dict(action)
        later(run)
        return answer

    def create(self, query, body):
        for field in ("name", "server_type", "image"):
            if field not in body:
                raise error(422, "invalid_input", f"invalid input in field '{field}'")
        with self.lock:
            if any(server["name"] == body["name"] for server in self.servers.values()):
                raise error(409, "uniqueness_error", "server name is already used")
            if len(self.servers) >= self.limit:
                raise error(403, "resource_limit_exceeded", "server limit exceeded")
            check_labels(body.get("labels") or {})
            all = [*ALL_IMAGES, *self.snapshots.values()]
            images = [i for i in all if body["image"] in (i["id"], str(i["id"]), i["name"])]
            kind = body["server_type"]
            if isinstance(kind, int) or str(kind).isdigit():
                kind = list(TYPES)[int(kind) - 1]
            if kind not in TYPES or not images:
                raise error(422, "invalid_input", "invalid input in field 'server_type' or 'image'")
            if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?", body["name"]):
                raise error(422, "invalid_input", "invalid input in field 'name'")
            if images[0]["status"] != "available" or images[0]["architecture"] != server_type(kind)["architecture"]:
                raise error(422, "invalid_input", "invalid input in field 'image'")
            if images[0]["disk_size"] > server_type(kind)["disk"]:
                raise error(422, "invalid_input", "image disk is bigger than server type disk")
            where = body.get("location") or "fsn1"
            if isinstance(where, int) or str(where).isdigit():
                where = LOCATIONS[int(where) - 1][0]
            places = {place["name"]: place["available"] for place in server_type(kind)["locations"]}
            if where not in places:
                raise error(422, "invalid_input", "unsupported location for server type")
            if not places[where]:
                # https://github.com/hetznercloud/terraform-provider-hcloud/issues/531
                raise error(412, "resource_unavailable", "error during placement")
            wanted = [key if isinstance(key, int) else 0 for key in body.get("ssh_keys") or []]
            keys = [self.keys[key]["public_key"] for key in wanted if key in self.keys]
            server = self.make(body["name"], kind, images[0], where, body.get("labels") or {}, "initializing", body.get("public_net") or {})
            self.orders.append(body)
            for address in self.addresses:
                if address["id"] == (body.get("public_net") or {}).get("ipv4"):
                    if address["assignee_id"]:
                        del self.servers[server["id"]]
                        raise error(422, "invalid_input", "primary IP is already assigned")
                    address["assignee_id"] = server["id"]
                    server["public_net"]["ipv4"].update(id=address["id"], ip=address["ip"])

        def boot():
            address = self.machines.make(server["id"], keys)
            self.machines.load(server["id"], self.disks.get(server["image"]["id"]))
            if self.machines.prefix and server["public_net"]["ipv4"]:
                server["public_net"]["ipv4"]["ip"] = address
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
        """The server is there, and being deleted, until the action is done."""
        server = self.find(number)

        def work():
            with self.lock:
                self.servers.pop(server["id"], None)
                self.ends(server)
                for volume in self.volumes.values():
                    if volume["server"] == server["id"]:
                        volume["server"] = None
                for address in self.addresses:
                    if address["assignee_id"] == server["id"]:
                        address["assignee_id"] = None
            self.machines.remove(server["id"])

        return 200, {"action": self.begin("delete_server", server, work, "deleting")}

    def act(self, number, command, query, body):
        server = self.find(number)
        number = server["id"]
        if command == "create_image":
            return self.create_image(server, body or {})
        if command == "change_type" and server["status"] != "off":
            raise error(422, "server_not_stopped", "server must be stopped before changing the type")
        before = server["status"]
        # https://docs.hetzner.cloud/reference/cloud#servers (`status`)
        meanwhile = {
            "shutdown": "stopping",
            "poweroff": "stopping",
            "poweron": "starting",
            "change_type": "migrating",
        }

        def work():
            if command == "reboot":
                self.machines.restart(number)
                server["status"] = before
            elif command in ("shutdown", "poweroff"):
                self.machines.stop(number)
                server["status"] = "off"
            elif command == "poweron":
                self.machines.start(number)
                server["status"] = "running"
            elif command == "change_type":
                server["server_type"] = server_type(body["server_type"])
                server["status"] = "off"

        return 201, {"action": self.begin(command, server, work, meanwhile.get(command))}

    def list_volumes(self, query, body):
        selector = query.get("label_selector")
        with self.lock:
            found = [
                volume
                for volume in self.listed(self.volumes.values(), "volume")
                if query.get("name") in (None, volume["name"]) and (selector is None or selector in volume["labels"])
            ]
        return listing("volumes", found, query)

    def find_volume(self, number):
        volume = self.volumes.get(int(number))
        if volume is None:
            raise error(404, "not_found", f"volume with ID '{number}' not found")
        return volume

    def begin_volume(self, command, volume, server, work):
        """An action on a volume, which locks it and the server (`locked`)."""
        busy = [number for number in (volume["id"], server) if number]
        with self.lock:
            if any(number in self.at_work for number in busy) or server and self.find(server)["locked"]:
                raise error(423, "locked", "volume or server is locked by another action")
            self.at_work.update(busy)
        resources = [{"id": volume["id"], "type": "volume"}]
        if server:
            resources.append({"id": server, "type": "server"})
        action = {
            "id": self.number(),
            "command": command,
            "status": "running",
            "progress": 0,
            "started": "2026-01-01T00:00:00+00:00",
            "finished": None,
            "resources": resources,
            "error": None,
        }
        self.actions[action["id"]] = action

        def run():
            self.clock.wait(self.takes("volume"))
            with self.lock:
                work()
                action.update(progress=100, finished="2026-01-01T00:00:01+00:00", status="success")
                self.at_work.difference_update(busy)

        answer = dict(action)
        later(run)
        return answer

    def create_volume(self, query, body):
        """10 to 10240 GB; names have 64 characters at most and are unique in a project."""
        with self.lock:
            if any(volume["name"] == body["name"] for volume in self.volumes.values()):
                raise error(409, "uniqueness_error", "volume name is already used")
            if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?", body["name"]):
                raise error(422, "invalid_input", "invalid input in field 'name'")
            if not 10 <= body["size"] <= 10240:
                raise error(422, "invalid_input", "invalid input in field 'size'")
            check_labels(body.get("labels") or {})
            where = body.get("location")
            if isinstance(where, int) or str(where).isdigit():
                where = LOCATIONS[int(where) - 1][0]
            number = self.number()
            volume = {
                "id": number,
                "created": "2026-01-01T00:00:00+00:00",
                "name": body["name"],
                "server": None,
                "location": location(where),
                "size": body["size"],
                "linux_device": f"/dev/disk/by-id/scsi-0HC_Volume_{number}",
                "protection": {"delete": False},
                "labels": body.get("labels") or {},
                "status": "creating",
                "format": None,
            }
            self.volumes[number] = volume
            self.begins(volume)
        answer = dict(volume)
        action = self.begin_volume("create_volume", volume, None, lambda: volume.update(status="available"))
        return 201, {"volume": answer, "action": action, "next_actions": []}

    def delete_volume(self, number, query, body):
        """It must not be attached (https://docs.hetzner.cloud/reference/cloud#volumes-delete-a-volume)."""
        with self.lock:
            volume = self.find_volume(number)
            if volume["id"] in self.at_work:
                raise error(423, "locked", "volume is locked by another action")
            if volume["server"]:
                raise error(422, "service_error", "volume is still attached to a server")
            del self.volumes[volume["id"]]
            self.ends(volume, "volume")
        return 204, None

    def act_on_volume(self, number, command, query, body):
        volume = self.find_volume(number)
        if command == "attach":
            server = self.find(body["server"])
            if volume["server"]:
                raise error(422, "volume_already_attached", "volume is already attached to a server")
            if server["location"]["name"] != volume["location"]["name"]:
                raise error(422, "invalid_input", "server and volume must be in the same location")
            work = lambda: volume.update(server=server["id"])
            return 201, {"action": self.begin_volume("attach_volume", volume, server["id"], work)}
        if command == "detach":
            if not volume["server"]:
                raise error(422, "invalid_input", "volume is not attached")
            work = lambda: volume.update(server=None)
            return 201, {"action": self.begin_volume("detach_volume", volume, volume["server"], work)}
        if command == "resize":
            if not volume["size"] < body["size"] <= 10240:
                # Downsizing is not possible (https://docs.hetzner.cloud/reference/cloud#volume-actions-resize-a-volume).
                raise error(422, "invalid_input", "invalid input in field 'size'")
            work = lambda: volume.update(size=body["size"])
            return 201, {"action": self.begin_volume("resize_volume", volume, None, work)}
        return self.not_found()

    def get_action(self, number, query, body):
        return 200, {"action": self.actions[int(number)]}

    def list_actions(self, query, body):
        wanted = query.get("id")
        found = [a for a in self.actions.values() if wanted is None or str(a["id"]) == wanted]
        return listing("actions", found, query)


if __name__ == "__main__":
    serve(Hetzner())
