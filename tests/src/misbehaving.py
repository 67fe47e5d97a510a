"""A plugin for tests: holds values in a file, and does one thing wrong, which its first argument names."""

import json
import os
import signal
import sys
import time

mode, state = sys.argv[1], sys.argv[2]
with open(state + ".starts", "a") as starts:
    starts.write("start\n")


def first_time(what):
    """Whether this has never happened, in this process or one before."""
    try:
        os.close(os.open(f"{state}.{what}", os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False


def held():
    try:
        with open(state) as file:
            return file.read().splitlines()
    except FileNotFoundError:
        return []


def hold(lines):
    with open(state + ".new", "w") as file:
        file.write("".join(line + "\n" for line in lines))
    os.rename(state + ".new", state)


def describe(params):
    settings = [
        {"key": "token", "type": "secret", "required": True, "env": ["MISBEHAVING_TOKEN"], "help": "A secret"},
        {"key": "number", "type": "number", "default": 7},
        {"key": "flag", "type": "flag", "default": False},
        {"key": "patience", "type": "duration", "default": 2},
    ]
    if mode == "takes-my-key":
        settings.append({"key": "command", "type": "text"})
    if mode == "underscore":
        settings.append({"key": "key_file", "type": "text"})
    return {
        "protocol": 9 if mode == "v9" else 1,
        "title": "a plugin\x1b[31m that misbehaves",
        "settings": settings,
        "capabilities": {
            "ttl": 0 if mode == "no-ttl" else 5,
            "exclusive": mode == "exclusive",
            "max_changes": {"small-batches": 2, "no-changes": 0}.get(mode),
            "max_values": 0 if mode == "no-values" else None,
            "settle": -1 if mode == "settled-before" else 0,
            "tells_settled": True,
            "tells_values": mode != "lies-silently",
            "write_safety": "per-value",
        },
        "a-member-of-the-future": [1, 2, 3],
    }


def configure(params):
    global token
    token = params["settings"]["token"]
    if mode == "leaks":
        print(f"my token is {token}", file=sys.stderr, flush=True)
        return error(2, f"the token {token} is not good", {"hint": "make another"})
    print(json.dumps(params["settings"] | {"token": "hidden"}, sort_keys=True), file=sys.stderr, flush=True)
    return {"result": {}}


def zone_of(params):
    if mode == "unsupported":
        return error(7, "not today")
    if mode == "parent-zone":
        return {"result": {"zone": {"name": "test"}}}
    if mode == "sloppy":
        return {"result": {"zone": {"name": "Example.test."}}, "error": None}
    if mode == "string-code" and not params["owner"].endswith("example.test"):
        return error("zone-not-found", "no such zone")
    if mode == "ends-well":
        sys.exit(0)
    if mode == "other-zone":
        return {"result": {"zone": {"id": "1", "name": "elsewhere.test"}}}
    if mode == "errors":
        # Each owner is an error's code.
        code = int(params["owner"].split(".")[0].replace("minus", "-"))
        return error(code, "said the server", {"hint": "a hint", "retry_after": 7.5, "held": ["a.test"]})
    return {"result": {"zone": {"name": "example.test"}, "name_servers": ["ns1.example.test"]}}


def apply(params):
    if mode == "unsupported":
        return error(7, "not today")
    if mode == "never" or mode == "late" and first_time("late"):
        time.sleep(3 if mode == "late" else 1000)
    if mode == "dies-during" and first_time("died"):
        print("out of memory", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "dies-always":
        print("out of memory", file=sys.stderr, flush=True)
        sys.exit(3)
    if mode == "floods":
        for _ in range(100):
            sys.stdout.write("x" * (1 << 20))
    if mode == "refuses-third" and len(held()) >= 2:
        return error(5, "the zone is full")
    lines = held()
    for change in params["changes"]:
        line = f"{change['owner']} {change['value']}"
        lines = [other for other in lines if other != line]
        if change["action"] == "add":
            lines.append(line)
    if not mode.startswith("lies"):
        hold(lines)
    outcomes = [{"status": "applied", "handle": f"h-{c['value']}"} for c in params["changes"]]
    if mode == "forgets-one":
        outcomes.pop()
    if mode == "number-handle":
        outcomes[0]["handle"] = 17
    if mode == "odd-status":
        outcomes = [{"status": "odd"} for _ in outcomes]
    if mode == "small-batches":
        assert len(outcomes) <= 2
    return {"result": {"outcomes": outcomes, "receipt": ["r1"]}}


def settled(params):
    return {"result": {"status": "settled" if params["receipt"] == ["r1"] else "unknown"}}


def values(params):
    at = {owner: [] for owner in params["owners"]}
    for line in held():
        owner, value = line.split(" ", 1)
        if owner in at:
            at[owner].append(f'"{value}"' if mode == "quotes" else value)
    return {"result": {"values": at}}


def error(code, message, data=None):
    return {"error": {"code": code, "message": message, "data": data or {}}}


if mode == "exits-at-once":
    print("there is no libfrobnicate", file=sys.stderr)
    sys.exit(3)
if mode == "banner":
    print("Welcome to the plugin!", flush=True)
if mode == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)

for line in sys.stdin:
    request = json.loads(line)
    method = request["method"]
    if method == "shutdown":
        with open(state + ".shutdown", "a") as file:
            file.write("shutdown\n")
        if mode == "stubborn":
            time.sleep(1000)
        break
    answer = {"jsonrpc": "1.0" if mode == "old-rpc" else "2.0", "id": request["id"]}
    if mode == f"no-{method}" and method != "values":
        answer |= error(-32601, "no such method")
    elif method == "describe":
        answer["result"] = describe(request["params"])
    else:
        answer |= globals()[method](request["params"])
        if mode == "repeats" and method == "apply":
            answer["id"] = 1
        if mode == "other-id":
            answer["id"] += 41
        if mode == "empty":
            answer = {"jsonrpc": "2.0", "id": request["id"]}
        if mode == "garbage":
            print("Traceback (most recent call last): canary-token", flush=True)
    for _ in range(2 if mode == "twice" else 1):
        print(json.dumps(answer), flush=True)
    if mode == "dies-between" and method == "apply":
        sys.exit(0)
