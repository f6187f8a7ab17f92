"""Clients of a server that speaks TLS."""
import socket

HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
MESSAGE = {"type": "Tested", "data": {}}


def connect(server, context=None, session=None, **options):
    """A TLS socket, by the server's own context unless another is given."""
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    return (context or server.tls.context()).wrap_socket(raw, server_hostname="localhost", session=session, **options)


def is_served(server, context=None):
    """Asks for /health over a connection of its own."""
    with connect(server, context) as wire:
        wire.sendall(HEALTH)
        return wire.recv(1000).startswith(b"HTTP/1.1 200")
