"""Runs a command on a pseudo-terminal. Prints its output and exit code as JSON.

The first argument is a JSON list of pairs [expected, keys]: when the output after the last match contains `expected`,
`keys` is typed. The others are the command.
"""
import json
import os
import pty
import select
import sys
import time

SECONDS = 120

steps = json.loads(sys.argv[1])
process, terminal = pty.fork()
if process == 0:
    os.environ['TERM'] = 'xterm'
    os.execvp(sys.argv[2], sys.argv[2:])

output, matched = '', 0
end = time.monotonic() + SECONDS
while time.monotonic() < end:
    while steps and steps[0][0] in output[matched:]:
        expected, keys = steps.pop(0)
        matched = output.index(expected, matched) + len(expected)
        # Keys that the command does not read yet would be read with the next ones.
        time.sleep(0.05)
        os.write(terminal, keys.encode())
    ready, _, _ = select.select([terminal], [], [], 0.2)
    if not ready:
        continue
    try:
        chunk = os.read(terminal, 65536)
    except OSError:
        break
    if not chunk:
        break
    output += chunk.decode('utf-8', 'replace')
else:
    os.kill(process, 9)
_, status = os.waitpid(process, 0)
print(json.dumps({'code': os.waitstatus_to_exitcode(status), 'output': output, 'missing': [step[0] for step in steps]}))
