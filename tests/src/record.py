"""Runs a plugin and writes down every line that goes in and out: record.py LOG PROGRAM [ARGUMENT...]"""

import json
import subprocess
import sys

log = open(sys.argv[1], "a")
plugin = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
for line in sys.stdin:
    plugin.stdin.write(line)
    plugin.stdin.flush()
    log.write(json.dumps({"request": json.loads(line)}) + "\n")
    log.flush()
    answer = plugin.stdout.readline()
    if not answer:
        break
    log.write(json.dumps({"answer": json.loads(answer)}) + "\n")
    log.flush()
    sys.stdout.write(answer)
    sys.stdout.flush()
plugin.stdin.close()
plugin.wait()
