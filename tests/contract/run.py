"""Holds the running service to its own OpenAPI document.

Starts `recado sandbox` and `recado serve` (embedded, in a temporary folder), links a session, fills a chat, and runs
schemathesis with and without a key. Promises: every process ends with this one, also when it is killed; the same seed
makes the same cases; no case reaches the real WhatsApp (hooks.py). The last line is the figures, as JSON.

    run.py RECADO [--cases N] [--seconds N] [--seed N] [--keep FOLDER]
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import jsonschema_rs

HERE = Path(__file__).parent
WITHIN = 60  # seconds until the service answers, and until a session is linked
LONGEST = 300  # seconds for one run of schemathesis

LEAST = 2000  # cases, in both runs together

# What schemathesis calls the failures that must not be. Any other ends the run as well.
KINDS = {
    "server_errors": ("ServerError",),
    "undocumented_statuses": ("UndefinedStatusCode",),
    "schema_violations": (
        "JsonSchemaError", "MalformedJson", "MissingHeaders", "MissingContentType", "UndefinedContentType", "MalformedMediaType",
    ),
}

# What no log may hold: addresses of WhatsApp and of mail, keys and tokens. The first key is told on standard output.
LEAKS = re.compile(r"^(?!API key: ).*(?:[0-9]{5,}(?:[.:][0-9]+)*@(?:s\.whatsapp\.net|lid|g\.us)|[\w.+-]+@[\w-]+\.(?:com|net|org)\b"
                   r"|\brec_[\w-]{20,}|\beyJ[\w-]{20,})", re.MULTILINE)

# Ends "$@" with our side of its standard input, which comes even when we are killed.
KEEP = '"$@" >"$0" 2>&1 </dev/null & pid=$!; exec 3<&0; cat <&3 >/dev/null; kill -KILL "$pid"; wait "$pid"'


class Kept:
    """A process that does not outlive us."""

    def __init__(self, folder, name, words, variables=None):
        self.log = folder / f"{name}.log"
        self.keeper = subprocess.Popen(
            ["sh", "-c", KEEP, str(self.log), *words],
            stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **(variables or {})}, cwd=folder,
        )

    def end(self):
        self.keeper.stdin.close()
        self.keeper.wait(10)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ask(method, url, body=None, headers=None):
    data = body.encode() if isinstance(body, str) else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **(headers or {})}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=WITHIN) as response:
            return response.status, json.loads(response.read() or b"null")
    except urllib.error.HTTPError as refused:
        return refused.code, json.loads(refused.read() or b"null")


def until(what, wanted):
    """Asks again until there is an answer; a service that starts refuses connections."""
    deadline = time.monotonic() + WITHIN
    while time.monotonic() < deadline:
        try:
            found = wanted()
        except OSError:
            found = None
        if found:
            return found
        time.sleep(0.05)
    sys.exit(f"not seen in {WITHIN} s: {what}")


def world(folder, recado):
    """A service with something to read: where it is, its key, the endpoint of its sandbox, and its processes."""
    phones, api = (f"127.0.0.1:{free_port()}" for _ in range(2))
    sandbox = Kept(folder, "sandbox", [recado, "sandbox", "--listen", phones])
    key_file = folder / "key"
    service = Kept(folder, "service", [recado, "serve"], {
        "RECADO_LISTEN": api, "RECADO_DATA_DIR": str(folder / "data"), "RECADO_API_KEY_FILE": str(key_file),
        "RECADO_MAX_SESSIONS": "50", "LOG_LEVEL": "warn",
        # Thousands of wrong keys come from here, and each shall hear that it is wrong, not that there were many.
        "RECADO_LIMIT_AUTH_FAILURES": "1000000/min",
    })
    base = f"http://{api}"
    until("the service is ready", lambda: ask("GET", f"{base}/readyz")[0] == 200 and key_file.exists())
    key = key_file.read_text().strip()
    identity = until("the sandbox", lambda: ask("GET", f"http://{phones}/admin/identity")[1])
    endpoint = {"kind": "sandbox", "url": f"ws://{phones}/ws/chat", "staticKey": identity["staticKey"]}
    headers = {"Authorization": f"Bearer {key}"}
    _, session = ask("POST", f"{base}/sessions", {"name": "contract", "endpoint": endpoint}, headers)
    there = f"{base}/sessions/{session['sessionId']}"
    code = until("a QR code", lambda: ask("GET", f"{there}/qr", headers=headers)[1].get("qr"))
    ask("POST", f"http://{phones}/admin/mock-phone/scan-qr?name=contract", code)
    until("a link", lambda: ask("GET", there, headers=headers)[1]["state"] == "connected")
    for text in ("uno", "dos", "tres"):
        ask("POST", f"{there}/messages", {"to": "+15550100199", "content": {"type": "text", "text": text}}, headers)
    return base, key, endpoint, [service, sandbox]


def examples(document):
    """Every example of the document is what its schema says; how many there are."""
    wrong, seen = [], 0

    def look(part, at):
        nonlocal seen
        if isinstance(part, dict):
            shown = [part["example"]] if "example" in part else []
            shown += [one["value"] for one in part["examples"].values()] if isinstance(part.get("examples"), dict) else []
            if "schema" in part and shown:
                schema = {"$ref": "#/schema", "schema": part["schema"], "components": document["components"]}
                for example in shown:
                    seen += 1
                    wrong.extend(f"{at}: {e.message}" for e in jsonschema_rs.Draft202012Validator(schema).iter_errors(example))
            for name, child in part.items():
                if name not in ("example", "examples"):
                    look(child, f"{at}/{name}")
        elif isinstance(part, list):
            for place, child in enumerate(part):
                look(child, f"{at}/{place}")

    look(document, "")
    if wrong:
        sys.exit("examples that are not what their schema says:\n" + "\n".join(wrong))
    return seen


def attack(folder, name, base, headers, variables, options):
    """One run of schemathesis; its report."""
    report = folder / f"{name}.json"
    words = [
        Path(sys.executable).with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml", "run", f"{base}/openapi.json",
        "--exclude-operation-id", "followEvents", "--report", "json", "--report-json-path", report,
        "--seed", str(options.seed), "--max-examples", str(options.cases), "--generation-database", "none",
        "--continue-on-failure", "--no-color", "--request-timeout", "30", "--max-time", str(options.seconds),
    ]
    for header in headers:
        words += ["--header", header]
    log = folder / f"{name}.log"
    with log.open("w") as output:
        ended = subprocess.run(words, stdout=output, stderr=subprocess.STDOUT, timeout=LONGEST, cwd=folder,
                               env={**os.environ, **variables})
    return ended.returncode, report, log.read_text()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("recado", type=Path)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--seconds", type=int, default=80, help="for each run")
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--keep", type=Path, help="copy logs and reports there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        base, key, endpoint, processes = world(folder, options.recado.resolve())
        try:
            figures, good = judged(folder, base, key, endpoint, options)
            print(json.dumps(figures))
            sys.exit(0 if good else 1)
        finally:
            for process in processes:
                process.end()
            if options.keep:
                subprocess.run(["cp", "-r", f"{folder}/.", options.keep], check=False)


def judged(folder, base, key, endpoint, options):
    """The figures, and whether they are good."""
    started = time.monotonic()
    _, document = ask("GET", f"{base}/openapi.json")
    figures = {"examples": examples(document), "cases": 0, **{name: 0 for name in KINDS}, "other": 0}
    variables = {"CONTRACT_ENDPOINT": json.dumps(endpoint), "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE)}
    good = True
    for name, headers in (("key", [f"Authorization: Bearer {key}"]), ("nokey", [])):
        code, report, log = attack(folder, name, base, headers, variables, options)
        if code:
            print(log[-20000:])
            good = False
        said = json.loads(report.read_text())
        cases, tested = said["test_cases"], said["operations"]["tested"]
        print(f"{name}: {cases['generated']} cases, {tested} operations, {cases['unique_failures']} failures, "
              f"{round(said['running_time'])} s")
        figures["cases"] += cases["generated"]
        for failure in said["failures"]:
            kind = next((kind for kind, types in KINDS.items() if failure["type"] in types), "other")
            figures[kind] += failure["count"]
        good = good and tested == operations(document) - 1 and not cases["errored"] and not said["errors"]
    # What the service itself calls its mistake, whatever it answered.
    said = (folder / "service.log").read_text()
    errors = [line for line in said.splitlines() if " ERROR " in line]
    leaks = [leak.group() for leak in LEAKS.finditer(said)]
    print("\n".join([*errors[:20], *leaks[:20]]))
    figures |= {"errors_logged": len(errors), "leaks_logged": len(leaks), "seconds": round(time.monotonic() - started)}
    enough = figures["cases"] >= LEAST
    return figures, good and enough and not errors and not leaks


def operations(document):
    return sum(len(item) for item in document["paths"].values())


if __name__ == "__main__":
    main()
