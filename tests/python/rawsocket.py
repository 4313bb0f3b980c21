"""A WebSocket client on a bare socket, which can send what a well-behaved client never would."""

import base64
import json
import os
import socket
import struct

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
CONTINUATION = 0x0
TIMEOUT_SECONDS = 15


def frame(opcode, payload=b"", fin=True, rsv=0, mask=True, length_code=None):
    """The bytes of one client frame; `length_code` forces a longer form of the length."""
    payload = payload.encode() if isinstance(payload, str) else payload
    size = len(payload)
    code = length_code or (size if size < 126 else 126 if size < 65536 else 127)
    head = bytes([(fin << 7) | (rsv << 4) | opcode, (mask << 7) | code])
    head += struct.pack("!H", size) if code == 126 else struct.pack("!Q", size) if code == 127 else b""
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + masked(payload, key)


def masked(payload, key):
    """The payload under the mask, fast enough for megabytes."""
    size = len(payload)
    whole = int.from_bytes(key * (size // 4 + 1), "big") >> 8 * (4 - size % 4)
    return (int.from_bytes(payload, "big") ^ whole).to_bytes(size, "big")


def close_payload(code, reason=b""):
    return struct.pack("!H", code) + reason


class Raw:
    """One connection. Reading gives frames as (fin, opcode, payload).

    `receive_bytes` bounds what the kernel takes for one who does not read. With a context, or to a server
    that speaks it, it is one over TLS.
    """

    def __init__(self, server, receive_bytes=None, context=None):
        self.socket = socket.socket()
        self.socket.settimeout(TIMEOUT_SECONDS)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect(("127.0.0.1", server.port))
        if context := context or getattr(server, "tls", None):
            # An end without a word of it is an error.
            self.socket = context.wrap_socket(
                self.socket, server_hostname="127.0.0.1", suppress_ragged_eofs=False
            )
        self.port = server.port
        self.token = getattr(server, "token", None)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    # HTTP

    def handshake_bytes(self, path, headers=None):
        """The request; a header given as None is left out."""
        lines = {
            "Host": f"127.0.0.1:{self.port}",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            "Sec-WebSocket-Version": "13",
            "Authorization": self.token and f"Bearer {self.token}",
            **(headers or {}),
        }
        text = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
        return f"GET {path} HTTP/1.1\r\n{text}\r\n".encode()

    def open(self, path, headers=None, along=b""):
        """Shakes hands; `along` goes out in the same packet."""
        self.send(self.handshake_bytes(path, headers) + along)
        status, reply_headers = self.read_head()
        assert status == 101, (status, reply_headers)
        return self

    def read_head(self):
        """The status and the headers (names in lower case) of a reply."""
        while b"\r\n\r\n" not in self.buffer:
            self.more()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        pairs = (line.split(":", 1) for line in lines)
        return int(status.split()[1]), {name.lower(): value.strip() for name, value in pairs}

    def read_reply(self, head_only=False):
        """A whole reply with a Content-Length: status, headers, body."""
        status, headers = self.read_head()
        size = 0 if head_only else int(headers.get("content-length", 0))
        return status, headers, self.take(size)

    # Frames

    def send(self, data):
        self.socket.sendall(data)

    def send_frame(self, opcode, payload=b"", **options):
        self.send(frame(opcode, payload, **options))

    def more(self):
        data = self.socket.recv(1 << 18)
        if not data:
            raise EOFError("the server closed the connection")
        self.buffer += data

    def take(self, size):
        parts, have = [self.buffer], len(self.buffer)
        while have < size:
            data = self.socket.recv(1 << 18)
            if not data:
                raise EOFError("the server closed the connection")
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self.buffer = whole[size:]
        return whole[:size]

    def read_frame(self):
        first, second = self.take(2)
        assert not second & 0x80, "a server must not mask"
        assert not first & 0x70, "a reserved bit is set"
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(self.take(2 if size == 126 else 8), "big")
        return bool(first & 0x80), first & 0x0F, self.take(size)

    def read_pong(self):
        """The payload of the next frame, a pong; the server's own pings passed over."""
        while (got := self.read_frame())[1] == PING:
            pass
        fin, opcode, payload = got
        assert fin and opcode == PONG, got
        return payload

    def read_message(self):
        """The next data message, its fragments put together: (opcode, payload)."""
        fin, opcode, payload = self.read_data_frame()
        while not fin:
            fin, more, part = self.read_data_frame()
            assert more == CONTINUATION
            payload += part
        return opcode, payload

    def read_data_frame(self):
        """The next frame, pings and pongs passed over."""
        while True:
            got = self.read_frame()
            if got[1] not in (PING, PONG):
                return got

    def read_json(self):
        opcode, payload = self.read_message()
        assert opcode == TEXT, (opcode, payload)
        return json.loads(payload)

    def read_close(self):
        """The close code that comes next, data passed over; none for a close without one.

        A connection that ends without a close frame is "dropped".
        """
        try:
            while True:
                _, opcode, payload = self.read_frame()
                if opcode == CLOSE:
                    return int.from_bytes(payload[:2], "big") if payload else None
        except (EOFError, ConnectionError):
            return "dropped"

    def read_end(self):
        """Waits until the server has closed the TCP connection."""
        try:
            while self.socket.recv(1 << 16):
                pass
        except ConnectionError:
            pass
