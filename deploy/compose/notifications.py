"""The webhook that alertmanager.yml names: prints each alert of a notification as a line.

For the demonstration, where a person would get a mail. Listens on 127.0.0.1:5001.
"""

import json
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LONGEST = 16 * 1024 * 1024


def printable(text):
    """Names and vendors are on it, and a terminal acts on what is not printable."""
    return "".join(c if c.isprintable() else "?" for c in text)


def line(alert):
    """What there is to say of an alert."""
    labels, annotations = alert["labels"], alert["annotations"]
    if alert["status"] == "firing":
        return f"FIRING {labels['alertname']}: {annotations['description']}"
    # The description is that of the last time it fired: it would say that all goes on.
    whose = " of ".join(labels[key] for key in ("source_mac", "interface", "instance") if key in labels)
    return f"RESOLVED {labels['alertname']}: no longer so{whose and ' for ' + whose}: {annotations['summary']}"


class Notifications(BaseHTTPRequestHandler):
    """Takes what Alertmanager posts."""

    # One that stops in the middle is not waited for.
    timeout = 10

    def do_POST(self):
        """Prints a notification."""
        try:
            length = int(self.headers["Content-Length"])
            if not 0 <= length <= LONGEST:
                raise ValueError(f"a length of {length}")
            alerts = json.loads(self.rfile.read(length))["alerts"]
            lines = [line(alert) for alert in alerts]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self.send_error(400, "not a notification of Alertmanager", printable(repr(error)))
            return
        for text in lines:
            print(printable(text), flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Only notifications are worth a line."""


if __name__ == "__main__":
    # The first process of a container is ended by no signal that it does not handle: Docker would wait ten seconds.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    ThreadingHTTPServer(("127.0.0.1", 5001), Notifications).serve_forever()
