#!/usr/bin/env python3
"""Times `dnseal renew` and `dnseal list` over a store of 10,000 certificates that are not due, and prints their peak memory.

Not a test: what it prints depends on the machine. Use a release build:

    cargo build --release -p dnseal && tests/bench/store.py target/release/dnseal [COUNT]
"""

import datetime
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

program = os.path.abspath(sys.argv[1])
count = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
now = datetime.datetime.now(datetime.timezone.utc)
issued = (now - datetime.timedelta(days=10)).timestamp()


def at(days):
    return (now + datetime.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def head(name):
    names = [name, f"*.{name}"]
    directory, account = "https://ca.test/dir", "ca.test-00000000"
    ari_id = f"aYhba4dGQEHhs3uEe6CuLN4ByNQ.{name}"
    return {
        "schema": 1,
        "id": name,
        "wanted": {
            "names": names,
            "key_type": "ecdsa-p256",
            "directory": directory,
            "account": account,
        },
        "current": {
            "number": 1,
            "names": names,
            "key_type": "ecdsa-p256",
            "directory": directory,
            "account": "https://ca.test/acct/1",
            "order": "https://ca.test/order/1",
            "issued": at(-10),
            "not_before": at(-10),
            "not_after": at(80),
            "serial": "01",
            "issuer": "bench",
            "ari_id": ari_id,
        },
        "last_version": 1,
        "renewal": {
            "recipe": {
                "ca": {"ca": directory},
                "provider": {"provider": "rfc2136", "set": ["server=192.0.2.1"]},
            },
            "advice": {
                "certificate": ari_id,
                "window": {"start": at(49), "end": at(51), "drawn": at(50)},
                "asked": at(-1),
                "ask_again": at(1),
            },
        },
    }


with tempfile.TemporaryDirectory(prefix="dnseal-bench-") as root:
    os.umask(0o077)
    for number in range(count):
        name = f"h{number}.example.test"
        directory = f"{root}/store/certificates/{name}"
        os.makedirs(directory)
        with open(f"{directory}/head.json", "w") as file:
            json.dump(head(name), file, indent=2)
        files = f".versions/{name}.0001"
        os.makedirs(f"{directory}/versions")
        os.makedirs(f"{root}/live/{files}")
        for place, file in (
            (f"{directory}/versions", "0001.fullchain.pem"),
            (f"{directory}/versions", "0001.privkey.pem"),
            (f"{root}/live/{files}", "cert.pem"),
            (f"{root}/live/{files}", "chain.pem"),
            (f"{root}/live/{files}", "fullchain.pem"),
            (f"{root}/live/{files}", "privkey.pem"),
        ):
            # As old as they say: what is as it was left is not read.
            with open(f"{place}/{file}", "w") as content:
                content.write("bench")
            os.utime(f"{place}/{file}", (issued, issued))
        os.symlink(files, f"{root}/live/{name}")
    peak = 0
    for words in (["renew"], ["list"], ["list", "--output", "json"]):
        begin = time.monotonic()
        run = subprocess.run(
            [program, *words, "--dir", root],
            env={"PATH": os.environ["PATH"], "HOME": root},
            stdout=subprocess.PIPE,
            check=True,
        )
        took = time.monotonic() - begin
        # The largest of all children so far.
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
        lines = run.stdout.count(b"\n")
        print(f"{' '.join(words):20} {took:6.2f} s  at most {peak} MB  {lines} lines")
