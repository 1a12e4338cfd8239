"""Interactive shells in a pseudo-terminal, for tests of shell completion."""

import os
import pty
import re
import select
import subprocess
import time
from contextlib import contextmanager

TIMEOUT_S = 60
SHOW_LINE, CLEAR_LINE = "\x0f", "\x15"  # Ctrl+O prints the line being edited; Ctrl+U empties it
READY = "shell is ready"
COMMANDS = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}
# The last line prints READY; the echo of the line itself is different, because of the quotes.
SETUPS = {
    "bash": r"""
        bind -x '"\C-o": printf "LINE<%s>" "$READLINE_LINE"'
        source <(chromabench completion bash)
        echo shell is 'ready'
    """,
    "zsh": r"""
        autoload -Uz compinit; compinit -u -D
        show_line() { print -rn -- "LINE<$BUFFER>" }
        zle -N show_line; bindkey '^O' show_line; bindkey '^U' kill-whole-line
        source <(chromabench completion zsh)
        echo shell is 'ready'
    """,
}


class Terminal:
    """A shell with the completion of chromabench, to which a test types."""

    def __init__(self, descriptor):
        self._descriptor = descriptor

    def complete(self, text):
        """Types a text and Tab, and returns the line that the shell shows then."""
        self.type(f"{CLEAR_LINE}{text}\t{SHOW_LINE}")
        return self.wait_for(r"LINE<(.*?)>")

    def type(self, text):
        """Sends keys to the shell."""
        os.write(self._descriptor, text.encode())

    def wait_for(self, pattern):
        """Returns the first group of a pattern, or its match, as soon as the shell prints it."""
        output, deadline = "", time.monotonic() + TIMEOUT_S
        while (match := re.search(pattern, output)) is None:
            readable, _, _ = select.select([self._descriptor], [], [], deadline - time.monotonic())
            assert readable, f"{pattern!r} did not appear in {output!r}"
            output += os.read(self._descriptor, 4096).decode()
        return match[match.re.groups]


@contextmanager
def running_shell(path, shell, environment):
    """Starts a shell, installs the completion of chromabench, and yields its terminal."""
    outside, inside = pty.openpty()
    process = subprocess.Popen(
        [path, *COMMANDS[shell]],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env=environment,
        start_new_session=True,
    )
    os.close(inside)
    terminal = Terminal(outside)
    try:
        for line in SETUPS[shell].strip().splitlines():
            terminal.type(f"{line.strip()}\n")
        terminal.wait_for(READY)
        yield terminal
    finally:
        process.kill()
        process.wait()
        os.close(outside)
