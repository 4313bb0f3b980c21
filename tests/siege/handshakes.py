"""Attacks on a server that speaks TLS, by those who come to no session or to many."""

import socket
import ssl

from attack import Attack, open_many


class HalfHandshakes(Attack):
    """2,000 connections that say hello and begin a record of 16 KiB. Memory is little."""

    growth_mib = 40
    sockets = 2_000
    options = ("--set", "limits.memory_bytes_max=67108864")

    def attack(self, server, stop):
        begun = hello(server) + b"\x16\x03\x03\x40\x00" + b"x" * 12_000

        def begin(_):
            connection = socket.create_connection(("127.0.0.1", server.port), timeout=15)
            connection.sendall(begun)
            return connection

        opened = open_many(self.sockets, begin, stop)
        stop.wait()
        return len(opened)


class Handshakes(Attack):
    """Whole handshakes, one behind the other, and nothing asked. The server pays most of each."""

    p99_ms = 250

    def attack(self, server, stop):
        context, done = server.tls, 0
        while not stop.is_set():
            with socket.create_connection(("127.0.0.1", server.port), timeout=15) as connection:
                try:
                    context.wrap_socket(connection, server_hostname="127.0.0.1").close()
                    done += 1
                except OSError:
                    pass
        return done


class GarbageBehindHandshakes(Handshakes):
    """The same, with records behind them that nobody has encrypted."""

    def attack(self, server, stop):
        context, done = server.tls, 0
        while not stop.is_set():
            try:
                bare = socket.create_connection(("127.0.0.1", server.port), timeout=15)
                with context.wrap_socket(bare, server_hostname="127.0.0.1") as secured:
                    with socket.socket(fileno=secured.detach()) as garbage:
                        garbage.settimeout(15)
                        garbage.sendall((b"\x17\x03\x03\x00\x40" + b"y" * 64) * 100)
                done += 1
            except OSError:
                pass
        return done


def hello(server):
    """What a client says first."""
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        server.tls.wrap_bio(came, goes, server_hostname="127.0.0.1").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return goes.read()
