"""A connection that is looked into, for tests and trials of what becomes of that when a node dies."""

PORT = 7110
HALVES = b"GET /etc/", b"passwd HTTP/1.1\r\n"


def look_at(config, action="reset"):
    """One signature, looked for in what goes to PORT."""
    config["signatures"] = {"exploits": [{"id": 2001, "pattern": "/etc/passwd", "message": "path traversal"}]}
    config["rules"] = [{
        "action": "pass", "direction": "in", "interface": "lan", "quick": True, "proto": "tcp", "to": {"port": PORT},
        "inspect": {"signatures": ["exploits"], "on-match": action}, "label": "looked-at",
    }] + config["rules"]
