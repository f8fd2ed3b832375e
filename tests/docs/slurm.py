"""A cluster of Slurm on this machine: a controller and two nodes, which can be killed.

A node is a PID namespace: killing its first process ends all that runs on it, as losing it would.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

#: What is needed, and the packages of Debian that have it.
PROGRAMS = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
}
NODES = ("n1", "n2")
#: Seconds after which a node that does not answer counts as lost; Slurm's own default is 300.
_LOST = 6
_PATIENCE = 120
# Nothing here needs control groups, accounting, or a name that resolves.
_CONF = """\
ClusterName=squasher
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser=root
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SlurmdParameters=config_overrides
SlurmdTimeout={lost}
JobRequeue=0
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n/slurmd.pid
SlurmdSpoolDir={folder}/%n
{nodes}
PartitionName=all Nodes=ALL Default=YES
"""
_NODE = "NodeName={} NodeHostname=localhost NodeAddr=127.0.0.1 Port={} CPUs=4 RealMemory=4096"


def missing(env: Mapping[str, str]) -> str:
    """Return why there can be no cluster here, "" if there can."""
    path = env["PATH"]
    packages = [package for name, package in PROGRAMS.items() if not shutil.which(name, path=path)]
    if packages:
        return f"no Slurm: apt-get install {' '.join(packages)}"
    return "" if os.geteuid() == 0 else "a cluster of Slurm needs root here"


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs; `nodes` are the processes that each of them hangs on."""

    env: dict[str, str]
    nodes: dict[str, subprocess.Popen[bytes]]

    def told(self, *words: str) -> str:
        """Return what a command of Slurm prints."""
        done = subprocess.run(
            words, env=self.env, stdout=subprocess.PIPE, text=True, timeout=60, check=True
        )
        return done.stdout

    def tasks(self, *words: str) -> list[str]:
        """Return the tasks that wait or run, a word for each."""
        return self.told("squeue", "--noheader", "--array", "--format=%K", *words).split()

    def state(self, node: str) -> str:
        """Return how the controller sees a node: "idle", "mixed", "down*" and others."""
        return self.told("sinfo", "--noheader", f"--nodes={node}", "--format=%T").strip()

    def kill(self, node: str) -> None:
        """Have a node lose its power."""
        _end(self.nodes[node])


def wait_for(what: str, happens: Callable[[], object]) -> None:
    """Wait until something is true. Raises AssertionError if it takes too long."""
    end = time.monotonic() + _PATIENCE
    while not happens():
        assert time.monotonic() < end, f"{what}: not within {_PATIENCE} s"
        time.sleep(0.2)


@contextmanager
def running(env: dict[str, str]) -> Iterator[Cluster]:
    """Run a cluster; its commands and tasks get the environment `env`."""
    with tempfile.TemporaryDirectory(prefix="squasher-slurm-") as name, ExitStack() as stack:
        folder = Path(name)
        for part in ("state", *NODES):
            (folder / part).mkdir()
        controller, *ports = _free_ports(1 + len(NODES))
        nodes = "\n".join(map(_NODE.format, NODES, ports))
        conf = folder / "slurm.conf"
        conf.write_text(_CONF.format(controller=controller, folder=folder, nodes=nodes, lost=_LOST))
        env = {**env, "SLURM_CONF": str(conf)}

        def started(*words: str) -> subprocess.Popen[bytes]:
            log = stack.enter_context((folder / "log").open("ab"))
            process = subprocess.Popen(words, stdout=log, stderr=log, env=env)
            stack.callback(_end, process)
            return process

        started(*_munged(folder))
        wait_for("munged", (folder / "munge.socket").exists)
        started("slurmctld", "-D")
        alone = ("unshare", "--pid", "--mount-proc", "--fork", "--kill-child")
        found = {node: started(*alone, "slurmd", "-D", "-N", node) for node in NODES}
        cluster = Cluster(env, found)
        wait_for("the nodes", lambda: all(cluster.state(node) == "idle" for node in NODES))
        yield cluster


def _munged(folder: Path) -> Sequence[str]:
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    places = {"key-file": key, "seed-file": folder / "munge.seed"}
    places |= {f"{kind}-file": folder / f"munge.{kind}" for kind in ("pid", "log")}
    options = [f"--{option}={path}" for option, path in places.items()]
    return ("munged", "--foreground", "--force", *options, f"--socket={folder}/munge.socket")


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in found:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in found]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
