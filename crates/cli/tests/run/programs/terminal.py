"""`terminal.py SOCKEYE`: sockeye run under a shell on a terminal of its own, with Ctrl-C, Ctrl-Z, fg and a resize."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

sockeye = sys.argv[1]
pid, master = pty.fork()
if pid == 0:
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])
text = ""


def until(pattern, seconds=10):
    """Waits until the terminal shows `pattern`; what was before it is done with."""
    global text
    end = time.monotonic() + seconds
    while True:
        found = re.search(pattern, text)
        if found:
            text = text[found.end():]
            return found
        left = end - time.monotonic()
        if left <= 0 or not select.select([master], [], [], left)[0]:
            sys.exit(f"no {pattern!r} in {text!r}")
        try:
            text += os.read(master, 4096).decode(errors="replace")
        except OSError:
            sys.exit(f"the terminal has ended before {pattern!r}: {text!r}")


def type_in(what):
    os.write(master, what.encode())


type_in("PS1='$ '; set +o emacs; stty -echo\n")
time.sleep(0.3)
type_in("echo pre''pared\n")
until("prepared\r\n")

# Ctrl-C: the program has it, once, and its exit code is the command's.
counts = "n=0; trap 'n=$((n+1)); echo caught $n' INT; echo rea''dy; sleep 1; sleep 0.3; sleep 0.3; exit $((40 + n))"
type_in(f"{sockeye} run --quiet -- sh -c \"{counts.replace('$', chr(92) + '$')}\"; echo code=$?\n")
until("ready\r\n")
time.sleep(0.2)
type_in("\x03")
until(r"caught 1")
until(r"code=41\r\n")

# One that does not catch it ends by it.
type_in(f"{sockeye} run --quiet -- sh -c 'echo rea''dy; exec sleep 30'; echo code=$?\n")
until("ready\r\n")
time.sleep(0.2)
type_in("\x03")
until(r"code=130\r\n")

# Ctrl-Z: the shell has its turn; fg lets the program go on, and it is still in front.
type_in(f"{sockeye} run --quiet -- sh -c 'echo rea''dy; read line; echo got $line; exit 6'\n")
until("ready\r\n")
time.sleep(0.2)
type_in("\x1a")
until("Stopped")
type_in("echo shell''s turn\n")
until("shells turn\r\n")
type_in("fg\n")
time.sleep(0.3)
type_in("hello\n")
until("got hello\r\n")
type_in("echo code=$?\n")
until(r"code=6\r\n")

# A resize reaches the program.
type_in(f"{sockeye} run --quiet -- bash -c 'trap \"echo resized; exit 8\" WINCH; echo rea''dy; while :; do sleep 0.05; done'\n")
until("ready\r\n")
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 90, 0, 0))
until("resized\r\n")
type_in("echo code=$?\n")
until(r"code=8\r\n")

type_in("exit\n")
os.kill(pid, signal.SIGHUP)
print("ok")
