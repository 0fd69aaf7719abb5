"""An SSH server that sends, after the login, what no library sends: raw messages (RFC 4250-4254), made on
top of paramiko. The login user names the attack, a function of `Attacks`. Prints three ports: on the
second, the server says that it is OpenSSH, and announces its host keys as that does; on the third, it
compresses. Ends with its standard input.

    hostile_packets.py
"""

import os
import socket
import struct
import sys
import threading
import time

import paramiko
from paramiko.message import Message

# Numbers of messages (RFC 4250, section 4.1.2; RFC 8308).
DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG, SERVICE_ACCEPT, EXT_INFO = 1, 2, 3, 4, 6, 7
KEXINIT, NEWKEYS = 20, 21
AUTH_FAILURE, AUTH_SUCCESS, AUTH_BANNER = 51, 52, 53
GLOBAL_REQUEST, REQUEST_SUCCESS, REQUEST_FAILURE = 80, 81, 82
OPEN, OPEN_CONFIRMATION, OPEN_FAILURE, WINDOW_ADJUST = 90, 91, 92, 93
DATA, EXTENDED_DATA, EOF, CLOSE, REQUEST, SUCCESS, FAILURE = 94, 95, 96, 97, 98, 99, 100

# Lines that try to pass for another host's, or to control the terminal.
FORGED = (
    "\r[web-2] ok\n[web-2] ok\nweb-2:\n\x1b[2J\x1b[31mred\n\x1b]52;c;ZXZpbA==\x07\n\u009b31m\n"
    "\u202eko ]2-bew[\u2066\na\u2028[web-2] ok\u2029\x85[web-2] ok\x08\x7f\x00\nweb-2  ok      0.1 s\n"
).encode()

# The largest number; no channel, window or status is that large.
MAX = 0xFFFFFFFF

# The numbers of channels that do not exist.
ABSENT = [1, 2, 7, 1000, 0x7FFFFFFF, 0x80000000, MAX]

# What the client may see of requests for channels, and of whole connections.
REQUESTS = [
    "pty-req", "x11-req", "env", "shell", "exec", "subsystem", "window-change", "signal",
    "auth-agent-req@openssh.com", "auth-agent-req", "eow@openssh.com", "keepalive@openssh.com", "break",
    "evil@example.com", "", "e" * 5000,
]
GLOBALS = [
    "tcpip-forward", "cancel-tcpip-forward", "streamlocal-forward@openssh.com",
    "cancel-streamlocal-forward@openssh.com", "no-more-sessions@openssh.com",
    "hostkeys-prove-00@openssh.com", "session-bind@openssh.com", "evil@example.com", "", "e" * 5000,
]


def u32(*numbers):
    return b"".join(struct.pack(">I", number) for number in numbers)


def text(value):
    """A string: its length, and its bytes."""
    value = value.encode() if isinstance(value, str) else value
    return u32(len(value)) + value


class Attacks:
    """What is sent on a channel whose command was accepted. Each attack sends the answer itself, if there
    is one."""

    def __init__(self, transport, channel, peer):
        self.transport = transport
        # The numbers of the channel: the client's, and the server's.
        self.peer = peer
        self.own = channel

    def send(self, number, *parts):
        message = Message()
        message.add_bytes(bytes([number]) + b"".join(parts))
        self.transport.packetizer.send_message(message)

    def data(self, data):
        self.send(DATA, u32(self.peer), text(data))

    def request(self, name, body=b"", reply=False, channel=None):
        channel = self.peer if channel is None else channel
        self.send(REQUEST, u32(channel), text(name), bytes([reply]), body)

    def end(self, status=0):
        self.request("exit-status", u32(status))
        self.send(EOF, u32(self.peer))
        self.send(CLOSE, u32(self.peer))

    def answer(self, status=0):
        """Answers as a server should."""
        self.data(b"played\n")
        self.end(status)

    def unknown_requests(self):
        for reply in [False, True]:
            for name in REQUESTS:
                for body in [b"", FORGED, u32(MAX), text(FORGED) * 100]:
                    # A known request with another body is malformed, which ends the connection.
                    if name != "keepalive@openssh.com" or not body:
                        for _ in range(20):
                            self.request(name, body, reply)
        self.answer()

    def unknown_globals(self):
        for reply in [0, 1]:
            for name in GLOBALS:
                for body in [b"", FORGED, u32(MAX), text(FORGED) * 100]:
                    for _ in range(20):
                        self.send(GLOBAL_REQUEST, text(name), bytes([reply]), body)
        self.answer()

    def host_keys(self):
        """Announces keys again and again: unknown ones, broken ones, and thousands."""
        key = text(text("ssh-ed25519") + text(b"k" * 32))
        for body in [b"", key, key * 600, text(FORGED) * 100, text(b"")] * 20:
            self.send(GLOBAL_REQUEST, text("hostkeys-00@openssh.com"), b"\0", body)
        self.answer()

    def opens(self):
        """Opens channels that nobody asked for. All must be refused."""
        address = text("127.0.0.1") + u32(22) + text("127.0.0.1") + u32(1)
        kinds = [
            ("session", b""), ("x11", text(FORGED) + u32(1)), ("x11", text("127.0.0.1") + u32(1)),
            ("forwarded-tcpip", address), ("forwarded-tcpip", (text(FORGED) + u32(MAX)) * 2),
            ("direct-tcpip", address), ("auth-agent@openssh.com", b""), ("auth-agent", b""),
            ("forwarded-streamlocal@openssh.com", text("/run/docker.sock") + text("")),
            ("direct-streamlocal@openssh.com", text("/run/docker.sock") + text("") + u32(0)),
            ("tun@openssh.com", u32(1, MAX)), ("evil@example.com", FORGED), ("", b""),
        ]
        count = 0
        for round in range(100):
            for kind, body in kinds:
                # Also a number that is in use.
                number = self.own if round == 50 else 100 + count
                window, size = [0, 1, MAX][round % 3], [1, 32768, MAX][round % 3]
                self.send(OPEN, text(kind), u32(number, window, size), body)
                count += 1
        end = time.monotonic() + 10
        while self.transport.refused + self.transport.opened < count and time.monotonic() < end:
            time.sleep(0.01)
        is_right = self.transport.opened == 0 and self.transport.refused == count
        self.answer(0 if is_right else 9)

    def open_nothing(self):
        """Opens a channel whose packets can hold nothing."""
        self.send(OPEN, text("session"), u32(100, MAX, 0))
        self.answer()

    def keepalives(self):
        """Asks for replies without end, and reads them."""
        while True:
            self.request("keepalive@openssh.com", reply=True)
            self.send(GLOBAL_REQUEST, text("keepalive@openssh.com"), b"\1")

    def unread_replies(self):
        """Asks for replies without end, and does not read them."""
        self.transport.deaf = True
        while True:
            self.request("keepalive@openssh.com", reply=True)
            self.request("evil@example.com", reply=True)
            self.send(GLOBAL_REQUEST, text("keepalive@openssh.com"), b"\1")
            self.send(GLOBAL_REQUEST, text("evil@example.com"), b"\1")
            self.send(OPEN, text("evil@example.com"), u32(1, 1, 1))

    def absent(self):
        """Everything for channels that do not exist."""
        for number in [number for number in ABSENT * 50 if number != self.peer]:
            self.send(DATA, u32(number), text(FORGED))
            self.send(EXTENDED_DATA, u32(number, 1), text(FORGED))
            self.send(WINDOW_ADJUST, u32(number, MAX))
            self.request("exit-status", u32(7), channel=number)
            self.request("exit-signal", text("KILL") + b"\0" + text(FORGED) + text(""), channel=number)
            self.request("keepalive@openssh.com", reply=True, channel=number)
            self.request("evil@example.com", reply=True, channel=number)
            for kind in [EOF, CLOSE, SUCCESS, FAILURE]:
                self.send(kind, u32(number))
            self.send(OPEN_FAILURE, u32(number, 1), text(FORGED), text(""))
        self.answer()

    def absent_opened(self):
        """Confirms a channel that the client did not ask for."""
        self.send(OPEN_CONFIRMATION, u32(1000, 1000, MAX, MAX))
        self.answer()

    def long_data(self):
        """A packet of more data than was agreed, but not more than any packet may have."""
        self.data(b"played\n" + b"x" * 200_000 + b"\n")
        self.end()

    def long_packet(self):
        """A packet longer than any may be."""
        self.data(b"x" * 1024 * 1024)
        self.answer()

    def bomb(self):
        """Compressed data that is far larger than its packet."""
        while True:
            self.data(b"\0" * 200 * 1024 * 1024)

    def beyond_window(self):
        """Data without end, whatever the window."""
        part = b"beyond\n" * 4000
        while True:
            self.data(part)

    def beyond_window_of_others(self):
        """As above, on channels of all numbers and streams."""
        part = b"x" * 30_000
        while True:
            for number in range(8):
                self.send(DATA, u32(number), text(part))
                self.send(EXTENDED_DATA, u32(number, number), text(part))

    def empty_data(self):
        while True:
            self.data(b"")
            self.send(EXTENDED_DATA, u32(self.peer, 1), text(b""))

    def streams(self):
        for kind in [0, 2, 3, 77, 0x80000000, MAX]:
            self.send(EXTENDED_DATA, u32(self.peer, kind), text(FORGED))
        self.answer()

    def statuses(self):
        """The status before the output, twice, and after the end of the output."""
        self.request("exit-status", u32(0))
        self.request("exit-status", u32(0), reply=True)
        self.data(b"played\n")
        self.send(EOF, u32(self.peer))
        self.send(EOF, u32(self.peer))
        self.end()

    def after_close(self):
        """All kinds of messages on the channel, after it was closed."""
        self.answer()
        self.request("exit-status", u32(7))
        self.request("exit-signal", text("KILL") + b"\0" + text("") + text(""))
        self.data(FORGED)
        self.send(EXTENDED_DATA, u32(self.peer, 1), text(FORGED))
        for kind in [EOF, CLOSE, SUCCESS, FAILURE, CLOSE]:
            self.send(kind, u32(self.peer))
        self.send(WINDOW_ADJUST, u32(self.peer, MAX))
        self.send(OPEN_FAILURE, u32(self.peer, 1), text(FORGED), text(""))

    def status_only_after_close(self):
        self.data(b"played\n")
        self.send(CLOSE, u32(self.peer))
        self.request("exit-status", u32(0))

    def signals(self):
        self.data(b"played\n")
        self.request("exit-signal", text(FORGED) + b"\1" + text(FORGED * 100) + text(FORGED))
        self.send(CLOSE, u32(self.peer))

    def replies(self):
        """Successes without a request."""
        for _ in range(2000):
            self.send(SUCCESS, u32(self.peer))
            self.send(REQUEST_SUCCESS)
            self.send(REQUEST_SUCCESS, u32(22))
            self.send(REQUEST_SUCCESS, FORGED)
            self.send(REQUEST_FAILURE)
        self.answer()

    def failures(self):
        """Failures without a request."""
        self.send(FAILURE, u32(self.peer))
        self.send(FAILURE, u32(self.peer))
        self.answer()

    def failed_open(self):
        """The channel is open already."""
        self.send(OPEN_FAILURE, u32(self.peer, 1), text(FORGED), text(FORGED))
        self.answer()

    def opened_again(self):
        """Confirms the channel again, with other numbers and sizes."""
        for window, size in [(0, 0), (MAX, MAX), (0, 1), (1, 0)]:
            self.send(OPEN_CONFIRMATION, u32(self.peer, self.own, window, size))
        self.answer()

    def no_packet_size(self):
        """Takes input in packets of nothing."""
        self.send(OPEN_CONFIRMATION, u32(self.peer, self.own, MAX, 0))
        time.sleep(3600)

    def windows(self):
        """Windows beyond the largest number."""
        for size in [MAX, 0, 1, MAX - 1] * 500:
            self.send(WINDOW_ADJUST, u32(self.peer, size))
        self.answer()

    def numbers(self):
        """Messages of unknown numbers, and those that have no place here: of the authentication, of a key
        exchange that nobody began, of extensions. Not those of the transport that end it."""
        known = {DISCONNECT, KEXINIT, NEWKEYS, *range(80, 83), *range(90, 101)}
        for number in range(256):
            # A key exchange's (RFC 4250, section 4.1.2) is a separate attack.
            if number in known or 20 <= number < 50:
                continue
            for body in [b"", u32(MAX), text(FORGED), text(FORGED) + b"\1" + text(FORGED), bytes(30_000)]:
                self.send(number, body)
        for _ in range(100):
            self.send(AUTH_SUCCESS)
            self.send(AUTH_BANNER, text(FORGED), text(FORGED))
            self.send(AUTH_FAILURE, text("publickey,password"), b"\1")
            self.send(SERVICE_ACCEPT, text("ssh-connection"))
            self.send(EXT_INFO, u32(MAX), text("server-sig-algs"), text("x"))
        self.answer()

    def noise(self):
        """Messages that are ignored, without end."""
        while True:
            self.send(IGNORE, text(FORGED * 50))
            self.send(DEBUG, b"\1", text(FORGED * 50), text(""))
            self.send(UNIMPLEMENTED, u32(MAX))
            self.send(200, FORGED)

    def rekeys(self):
        """Exchanges keys again, many times."""
        for _ in range(20):
            self.transport.renegotiate_keys()
        self.answer()

    def unfinished_rekey(self):
        """Begins to exchange keys, and floods instead of continuing."""
        self.transport.held = True
        self.send(KEXINIT, bytes(16), *[text(part) for part in self.transport.offer], b"\0", u32(0))
        for _ in range(200_000):
            self.send(GLOBAL_REQUEST, text("keepalive@openssh.com"), b"\1")
        time.sleep(3600)

    def stalled_rekey(self):
        """Begins to exchange keys, and stalls with messages that are allowed meanwhile."""
        self.transport.held = True
        self.send(KEXINIT, bytes(16), *[text(part) for part in self.transport.offer], b"\0", u32(0))
        while True:
            self.send(IGNORE, text(FORGED * 50))

    def key_exchange(self, number):
        """A message of a key exchange that nobody began."""
        self.send(number, text(FORGED))
        self.answer()

    def truncated(self, number):
        """A message that ends within itself."""
        for length in range(12):
            self.send(number, u32(self.peer, MAX, MAX)[:length])
        self.answer()

    def lying(self, number):
        """A message whose lengths are false."""
        self.send(number, u32(self.peer, MAX), FORGED, u32(MAX))
        self.answer()

    def malformed_request(self, name):
        """A request that the client knows, with another body."""
        self.request(name, u32(MAX) + FORGED)
        self.answer()

    def goodbye(self):
        """A reason that is as long as a packet may be."""
        self.send(DISCONNECT, u32(11), text(FORGED * 500), text(FORGED))

    def bad_goodbye(self):
        self.send(DISCONNECT, u32(1), u32(MAX), FORGED)


class Server(paramiko.ServerInterface):
    def __init__(self, transport):
        self.transport = transport
        self.attack = ""

    def get_allowed_auths(self, user):
        return "publickey"

    def check_auth_publickey(self, user, key):
        self.attack = user
        if user == "banners":
            message = bytes([AUTH_BANNER]) + text(FORGED * 100) + text(FORGED)
            for _ in range(2000):
                packet = Message()
                packet.add_bytes(message)
                self.transport.packetizer.send_message(packet)
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind, number):
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel, line):
        name, _, argument = self.attack.partition("-")
        # The command that ends an abandoned one is answered.
        if b"/proc/self/environ" in line and not self.transport.held:
            name, argument = "answer", ""
        attacks = Attacks(self.transport, channel.chanid, channel.remote_chanid)
        attack = getattr(attacks, name, attacks.answer)
        argument = int(argument) if argument.isdigit() else argument
        self.transport.begin(attack, [argument] if argument else [])
        return True


class Transport(paramiko.Transport):
    """Begins attacks when the request was answered, counts how the client answers to channels that the
    server opens, and reads nothing once it is deaf."""

    refused = 0
    opened = 0
    deaf = False
    held = False
    waiting = None

    def begin(self, attack, argument):
        self.waiting = (attack, argument)

    def _send_message(self, message):
        super()._send_message(message)
        if self.waiting and message.asbytes()[0] == SUCCESS:
            (attack, argument), self.waiting = self.waiting, None
            threading.Thread(target=self.attack, args=(attack, argument), daemon=True).start()

    @staticmethod
    def attack(attack, argument):
        try:
            attack(*argument)
        except (OSError, EOFError, paramiko.SSHException):
            pass  # The client is gone.


class Reader(paramiko.packet.Packetizer):
    """Reads packets for a transport, and keeps from it what paramiko takes for errors."""

    transport = None

    def read_message(self):
        while True:
            while self.transport.deaf:
                time.sleep(0.1)
            kind, message = super().read_message()
            if kind == OPEN_CONFIRMATION:
                self.transport.opened += 1
            elif kind == OPEN_FAILURE:
                self.transport.refused += 1
            elif kind in [REQUEST_SUCCESS, REQUEST_FAILURE, SUCCESS, FAILURE, UNIMPLEMENTED]:
                pass
            elif kind == DISCONNECT or not self.transport.held:
                return kind, message


def serve(client, key, version, compressed):
    transport = Transport(client)
    transport.packetizer.__class__ = Reader
    transport.packetizer.transport = transport
    transport.local_version = version
    transport.offer = [
        "curve25519-sha256@libssh.org", "ssh-ed25519", "aes128-ctr", "aes128-ctr", "hmac-sha2-256",
        "hmac-sha2-256", "none", "none", "", "",
    ]
    if compressed:
        transport.get_security_options().compression = ("zlib@openssh.com",)
    transport.add_server_key(key)
    server = Server(transport)
    transport.start_server(server=server)
    if "OpenSSH" in version:
        while not transport.is_authenticated() and transport.is_active():
            time.sleep(0.005)
        message = Message()
        message.add_bytes(
            bytes([GLOBAL_REQUEST]) + text("hostkeys-00@openssh.com") + b"\0" + text(key.asbytes())
        )
        transport.packetizer.send_message(message)


def listen(key, version, compressed=False):
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def accept():
        while True:
            client, _ = listener.accept()

            def treat(client=client):
                try:
                    serve(client, key, version, compressed)
                except (OSError, EOFError, paramiko.SSHException):
                    pass  # The client is gone.

            threading.Thread(target=treat, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def main():
    # paramiko reports what the client did to it.
    paramiko.util.get_logger("paramiko").disabled = True
    key = paramiko.ECDSAKey.generate()
    ports = [
        listen(key, "SSH-2.0-raw_1.0"),
        listen(key, "SSH-2.0-OpenSSH_9.9"),
        listen(key, "SSH-2.0-raw_1.0", compressed=True),
    ]
    print(*ports, flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
