"""What the test servers have in common: HTTP, faults on demand, and the machines behind them.

A cloud is started with `python NAME.py`, prints its address, and ends when its standard input does.
`HITC_TEST_MACHINES=PREFIX` puts a real server behind each of its own: a server of hitc's local
provider, made by the program in `HITC_TEST_PROGRAM`. Without it the addresses lead nowhere.

`HITC_TEST_CLOUD_INIT=STATUS` gives them a cloud-init that ends with this status.

`POST /_faults` with a list says what goes wrong from now on, one entry a time:
`{"method", "path" (a regular expression), "skip", "times", "kind", "status", "headers", "body", "after"}`;
`kind` is `answer`, `cut`, `hang` or `garbage`; with `after`, the request is done before it goes wrong.
`shift` answers rightly, and then something that was listed is gone. `meet` does no request before as many
as `count` have come, to this cloud and others, which know of each other by a `folder`; and it answers none
before all are done.
`POST /_stop` with a name stops a server. `GET /_log` lists the requests so far, and `GET /_hanging` tells how
many requests were met by a `hang`; `GET /_count` counts the servers that cost money,
and `GET /_ending` those that are being deleted, or gone and still listed.

`HITC_TEST_CLOUD` or `POST /_settings`, with a JSON object, changes the cloud's settings: how fast its time
passes (`speed`), and how many of its seconds something takes. See `SETTINGS` here and in each cloud.
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status, body, headers=None):
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers or {}


SETTINGS = {
    # How many seconds of the cloud pass in a second.
    "speed": 1,
    # A new server is not listed at once, and one that is gone is still listed: the lists of all clouds lag.
    "lag": 0.3,
    # How long a deletion takes.
    "deletion": 0.5,
    # How long an action takes. A setting of the action's own name has precedence.
    "action": 0,
    # A limit of requests that replaces the documented one.
    "requests": None,
    # The scopes of the token, as a list; all, if it is not set. At Hetzner, only `read` is another one.
    "scopes": None,
}


class Clock:
    """The time of a cloud, in seconds. It can run faster than that of everybody else."""

    def __init__(self, settings):
        self.settings = settings
        self.lock = threading.Lock()
        self.seen, self.time = time.monotonic(), 0.0

    def now(self):
        with self.lock:
            real = time.monotonic()
            self.time += (real - self.seen) * self.settings["speed"]
            self.seen = real
            return self.time

    def real(self, seconds):
        """How long that takes for everybody else."""
        return seconds / self.settings["speed"]

    def wait(self, seconds):
        """Waits. The speed may change meanwhile."""
        end = self.now() + seconds
        while (left := end - self.now()) > 0:
            time.sleep(min(0.05, self.real(left) + 0.001))


class Window:
    """At most so many requests in so many seconds."""

    def __init__(self, most, seconds):
        self.most, self.seconds = most, seconds
        self.times = []

    def take(self, now):
        """Counts a request. Returns how long to wait if there were too many."""
        self.times = [then for then in self.times if then > now - self.seconds]
        if len(self.times) >= self.most:
            return self.times[0] + self.seconds - now
        self.times.append(now)
        return None

    def left(self):
        return self.most - len(self.times)

    def oldest(self, now):
        """When the oldest request does not count any more."""
        return self.times[0] + self.seconds - now if self.times else 0


class Bucket:
    """So many tokens, which are refilled at a rate a second."""

    def __init__(self, most, rate, left=None):
        self.most, self.rate = most, rate
        self.left = most if left is None else left
        self.seen = 0.0

    def take(self, now):
        self.left = min(self.most, self.left + (now - self.seen) * self.rate)
        self.seen = now
        if self.left < 1:
            return (1 - self.left) / self.rate
        self.left -= 1
        return None

    def full(self):
        """How long it takes until it is full."""
        return (self.most - self.left) / self.rate


class Machines:
    """The machines behind the servers."""

    def __init__(self):
        self.prefix = os.environ.get("HITC_TEST_MACHINES")
        self.program = os.environ.get("HITC_TEST_PROGRAM")

    # Beside hitc's own file, which is rewritten at each start.
    KEYS = "rm /root/.ssh/authorized_keys; cat >/root/.ssh/authorized_keys2"

    def make(self, number, keys):
        """Makes a machine that these keys open, and gives its address."""
        if not self.prefix:
            return f"192.0.2.{number % 250 + 1}"
        environment = dict(os.environ, HITC_NAME_PREFIX=self.prefix)
        environment.pop("DIGITALOCEAN_API_URL", None)
        subprocess.run(
            [self.program, "-q", "run", "create", "provider=local", f"name=m{number}"],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        name = self.name(number)
        self.docker(
            "exec", "-i", name, "sh", "-c", self.KEYS, stdin="\n".join(keys) + "\n"
        )
        status = os.environ.get("HITC_TEST_CLOUD_INIT")
        if status:
            script = "#!/bin/sh\necho 'status: as the test says'; exit $(cat /etc/init-status)\n"
            line = f"echo {status} >/etc/init-status; cat >/usr/bin/cloud-init; chmod +x /usr/bin/cloud-init"
            self.docker("exec", "-i", name, "sh", "-c", line, stdin=script)
        form = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        return self.docker("inspect", "-f", form, name).strip()

    def name(self, number):
        return f"{self.prefix}m{number}"

    def restart(self, number):
        if self.prefix:
            self.docker("restart", "-t", "2", self.name(number))

    def stop(self, number):
        if self.prefix:
            self.docker("stop", "-t", "2", self.name(number))

    def start(self, number):
        if self.prefix:
            self.docker("start", self.name(number))

    def remove(self, number):
        if self.prefix:
            self.docker("rm", "-fv", self.name(number))

    def save(self, number):
        """What an image of a machine has of its disk: the folder /srv, as an archive. It may run."""
        if not self.prefix:
            return None
        done = subprocess.run(["docker", "cp", f"{self.name(number)}:/srv", "-"], capture_output=True, check=True)
        return done.stdout

    def load(self, number, saved):
        """Gives a machine what an image has."""
        if self.prefix and saved:
            subprocess.run(["docker", "cp", "-", f"{self.name(number)}:/"], input=saved, capture_output=True, check=True)

    def docker(self, *arguments, stdin=None):
        done = subprocess.run(["docker", *arguments], input=stdin, text=True, capture_output=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return done.stdout


class Cloud:
    """The state of a cloud; a subclass has the routes: `routes` is a list of (method, path, handler).

    A handler is given the parts of the path, the query and the body, and returns a status and a body.
    """

    token = "test-token"

    def __init__(self):
        self.settings = {**SETTINGS, **json.loads(os.environ.get("HITC_TEST_CLOUD", "{}"))}
        self.clock = Clock(self.settings)
        self.lock = threading.RLock()
        self.machines = Machines()
        self.faults = []
        self.log = []
        # How many requests the limits admitted.
        self.served = 0
        self.numbers = 1000
        self.hanging = 0
        self.other = None
        self.routes = []
        # From when on the lists know of new servers, and of those that are gone.
        self.shown, self.hidden = {}, {}

    def takes(self, kind):
        """How long an action takes."""
        return self.settings.get(kind, self.settings["action"])

    def limit_requests(self, method, path):
        """Counts a request. Returns the headers of its response; raises `Refused` if there are too many."""
        return {}

    def begins(self, server):
        """The lists show a new server later."""
        self.shown[server["id"]] = self.clock.now() + self.settings["lag"]

    def ends(self, server, kind="server"):
        """The lists of its kind show a server, or something else, that is gone for a while."""
        self.hidden[server["id"]] = (dict(server), self.clock.now() + self.settings["lag"], kind)

    def listed(self, servers, kind="server"):
        """What a list shows of servers, or of something else."""
        now = self.clock.now()
        late = [server for server, end, of in self.hidden.values() if now < end and of == kind]
        return [server for server in servers if now >= self.shown.get(server["id"], 0)] + late

    def number(self):
        with self.lock:
            self.numbers += 1
            return self.numbers

    def seen_by(self, token):
        """The cloud as another account sees it, if the token is `other-token`."""
        if token != "other-token":
            return self
        with self.lock:
            if self.other is None:
                self.other = type(self)()
                self.other.token, self.other.numbers = token, 500000
        return self.other

    def being_deleted(self):
        """The number of servers whose deletion has begun."""
        return 0

    def count(self):
        """The number of servers that cost money."""
        raise NotImplementedError

    def unauthorized(self):
        raise NotImplementedError

    def not_found(self):
        raise NotImplementedError

    def name_of(self, path, text):
        """By what a request is known to faults and the log."""
        return path

    def fault(self, method, *names):
        """The fault that this request meets, if there is one. A request has several names."""
        with self.lock:
            for fault in self.faults:
                wanted = fault.get("method", method) == method
                is_it = any(re.fullmatch(fault["path"], name) for name in names)
                if wanted and is_it and fault.get("times", 1) > 0:
                    if fault.get("skip", 0) > 0:
                        fault["skip"] -= 1
                        return None
                    fault["times"] = fault.get("times", 1) - 1
                    return fault
        return None

    def control(self, method, path, body):
        if path == "/_faults":
            with self.lock:
                self.faults = body
            return 200, {}
        if path == "/_stop":
            # By the name of the server, as if somebody had done it at the provider's page.
            self.stop(body)
            return 200, {}
        if path == "/_log":
            return 200, self.log
        if path == "/_hanging":
            return 200, self.hanging
        if path == "/_count":
            return 200, self.count()
        if path == "/_ending":
            now = self.clock.now()
            late = sum(now < end and kind == "server" for _, end, kind in list(self.hidden.values()))
            return 200, late + self.being_deleted()
        if path == "/_served":
            return 200, self.served
        if path == "/_settings":
            self.clock.now()
            self.settings.update(body)
            self.settings_changed(body)
            return 200, {}
        return 404, {}

    def settings_changed(self, changed):
        pass

    def answer(self, method, path, query, body, token):
        """Does what a request asks for. Returns status, body and headers."""
        if token != self.token:
            return *self.unauthorized(), {}
        headers = {}
        try:
            with self.lock:
                headers = self.limit_requests(method, path)
                self.served += 1
            for wanted, pattern, handler in self.routes:
                found = re.fullmatch(pattern, path)
                if wanted == method and found:
                    parts = [unquote(part) for part in found.groups()]
                    return *handler(*parts, query=query, body=body), headers
        except Refused as refused:
            return refused.status, refused.body, {**headers, **refused.headers}
        return *self.not_found(), headers


def later(what):
    """Does it beside everything else."""
    threading.Thread(target=what, daemon=True).start()


def meet(folder, count, point):
    """Waits until as many requests have come to a point."""
    folder = os.path.join(folder, point)
    os.makedirs(folder, exist_ok=True)
    request = f"{os.getpid()}-{threading.get_ident()}"
    open(os.path.join(folder, request), "w").close()
    for _ in range(600):
        if len(os.listdir(folder)) >= count:
            return
        time.sleep(0.05)
    raise RuntimeError(f"not all {count} requests were {point}")


def page(items, query, most):
    """The items of the page that a query asks for, its number and the number of the last one."""
    count = max(1, min(int(query.get("per_page", 20)), most))
    last = max(1, -(-len(items) // count))
    number = int(query.get("page", 1))
    return items[(number - 1) * count : number * count], number, last


def serve(cloud):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # An answer goes out whole and at once: in two parts it waits for the other side, 40 ms.
        disable_nagle_algorithm = True
        wbufsize = -1

        def log_message(self, *_):
            pass

        def handle_one(self):
            parts = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(parts.query).items()}
            length = int(self.headers.get("Content-Length") or 0)
            text = self.rfile.read(length)
            method = self.command
            if parts.path.startswith("/_"):
                return self.send(*cloud.control(method, parts.path, json.loads(text) if text else None))
            name = cloud.name_of(parts.path, text)
            with cloud.lock:
                cloud.log.append({"method": method, "path": self.path if name == parts.path else name})
            fault = cloud.fault(method, name, self.path)
            done = None
            if fault and fault.get("kind") == "meet":
                meet(fault["folder"], fault["count"], "asked")
                done = self.done(method, parts.path, query, text)
                meet(fault["folder"], fault["count"], "done")
                return self.send(*done)
            if fault is None or fault.get("after") or fault.get("kind") == "shift":
                done = self.done(method, parts.path, query, text)
            if fault is None:
                return self.send(*done)
            kind = fault.get("kind", "answer")
            if kind == "cut":
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
            elif kind == "shift":
                self.send(*done)
                cloud.shift()
            elif kind == "hang":
                cloud.hanging += 1
                time.sleep(600)
            elif kind == "garbage":
                self.send_text(200, "{this is not")
            else:
                self.send(fault["status"], fault.get("body", {}), fault.get("headers", {}))

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one

        def done(self, method, path, query, text):
            """What comes of a request."""
            if hasattr(cloud, "pass_on"):
                return cloud.pass_on(method, self.path, text, self.headers)
            token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
            done = cloud.seen_by(token).answer(method, path, query, json.loads(text) if text else None, token)
            self.check(method, text, done)
            return done

        def check(self, method, text, done):
            """What is not as the contract has it is answered with an error that nobody expects."""
            checker = getattr(cloud, "contract", None)
            if checker:
                checker.check(method, self.path, text, done[:2])

        def send(self, status, body, headers={}):
            if not isinstance(body, (str, bytes)):
                body = "" if body is None else json.dumps(body)
            self.send_text(status, body, headers)

        def send_text(self, status, text, headers={}):
            data = text.encode() if isinstance(text, str) else text
            self.send_response(status)
            if data:
                kind = "text/xml" if data.startswith(b"<") else "application/json"
                self.send_header("Content-Type", kind)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 204:
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, request, address):
            # A client that has hung up is no error of ours.
            if not isinstance(sys.exc_info()[1], (ConnectionError, ValueError)):
                super().handle_error(request, address)

    server = Server(("127.0.0.1", 0), Handler)
    # Further addresses that belong to it.
    further = f" {cloud.prices}" if hasattr(cloud, "prices") else ""
    print(f"http://127.0.0.1:{server.server_address[1]}{further}", flush=True)
    later(server.serve_forever)
    sys.stdin.read()
