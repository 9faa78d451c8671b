"""Attacks from inside of a preview."""

from __future__ import annotations

import asyncio
import json
from typing import Any

ATTACK = """
const net = require('net');
const targets = JSON.parse(process.argv[1]);
const answers = {};
let left = targets.length;
for (const [host, port] of targets) {
  const socket = net.connect({ host, port, timeout: 3000 });
  const end = (answer) => {
    if (!(`${host}:${port}` in answers)) {
      answers[`${host}:${port}`] = answer;
      if (--left === 0) console.log(JSON.stringify(answers));
    }
    socket.destroy();
  };
  socket.on('connect', () => end('open'));
  socket.on('error', (error) => end(error.code));
  socket.on('timeout', () => end('timeout'));
}
"""


async def reached(container: Any, *targets: tuple[str, int]) -> set[str]:
    """Which of these a program in the container can connect to."""
    command = ["node", "-e", ATTACK, json.dumps(targets)]
    result = await asyncio.to_thread(container.exec_run, command)
    assert result.exit_code == 0, result.output
    answers = json.loads(result.output)
    assert len(answers) == len(targets), answers
    return {target for target, answer in answers.items() if answer == "open"}
