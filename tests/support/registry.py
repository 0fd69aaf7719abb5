"""What a registry is beside itself: its token service, and a registry that answers nothing but errors.

    registry.py FOLDER ADDRESS token ISSUER "PASSWORD IDENTITY"   issues tokens to joe
    registry.py FOLDER ADDRESS fault STATUS ""                    answers with a status; 0: never
    registry.py FOLDER ADDRESS count FILE ""                      has every image; writes requests to a file

FOLDER has `server.crt` and `server.key`. Prints its port.
"""

import base64, json, ssl, subprocess, sys, threading, time, urllib.parse, uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

folder, address, kind, argument, accepted = sys.argv[1:]
password, _, identity = accepted.partition(" ")


def read(name):
    with open(f"{folder}/{name}") as file:
        return file.read()


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def token(service, scopes):
    certificate = "".join(read("server.crt").splitlines()[1:-1])
    head = {"typ": "JWT", "alg": "RS256", "x5c": [certificate]}
    access = []
    for scope in scopes:
        kind, name, actions = scope.split(":")
        access.append({"type": kind, "name": name, "actions": actions.split(",")})
    now = int(time.time())
    body = {
        "iss": argument, "sub": "joe", "aud": service, "jti": str(uuid.uuid4()),
        "iat": now, "nbf": now - 10, "exp": now + 300, "access": access,
    }
    signed = ".".join(encode(json.dumps(part).encode()) for part in (head, body))
    sign = ["openssl", "dgst", "-sha256", "-sign", f"{folder}/server.key"]
    signature = subprocess.run(sign, input=signed.encode(), stdout=subprocess.PIPE, check=True)
    return f"{signed}.{encode(signature.stdout)}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Docker-Distribution-API-Version", "registry/2.0")
        if kind == "count":
            self.send_header("Docker-Content-Digest", "sha256:" + 64 * "0")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    def handle_any(self):
        if kind == "fault":
            if argument == "0":
                threading.Event().wait()
            message = {"code": "FAULT", "message": f"a fault with status {argument}"}
            return self.answer(int(argument), {"errors": [message]})
        if kind == "count":
            with open(argument, "a") as file:
                file.write(f"{self.command} {self.path}\n")
            return self.answer(200, {})
        url = urllib.parse.urlparse(self.path)
        query = urllib.parse.parse_qs(url.query)
        if self.command == "POST":
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            query = urllib.parse.parse_qs(body)
            is_known = query.get("refresh_token") == [identity]
        else:
            plain = base64.b64encode(f"joe:{password}".encode()).decode()
            is_known = self.headers.get("Authorization") == f"Basic {plain}"
        if not is_known:
            return self.answer(401, {"details": "wrong user name or password"})
        scopes = " ".join(query.get("scope", [])).split()
        issued = token(query["service"][0], scopes)
        self.answer(200, {"token": issued, "access_token": issued, "expires_in": 300})

    do_GET = do_HEAD = do_POST = handle_any

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer((address, 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{folder}/server.crt", f"{folder}/server.key")
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_address[1], flush=True)
server.serve_forever()
