"""A cluster of Slurm on this machine: munged, slurmctld and a slurmd for each node, all in one folder."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from demo.ports import free_port

COMMANDS = ("setpriv", "munged", "slurmctld", "slurmd", "sbatch", "scontrol")
PATIENCE_SECONDS = 240.0


def missing() -> str:
    """Why there can be no cluster here; empty where there can."""
    if os.geteuid() != 0:
        return "the daemons of Slurm run as root here"
    lacking = [command for command in COMMANDS if shutil.which(command) is None]
    return f"{', '.join(lacking)}: sudo apt-get install slurm-wlm munge" if lacking else ""


class Cluster:
    """Nodes n1, n2, ... of one processor each."""

    def __init__(self, folder: Path, nodes: int) -> None:
        self.folder = folder
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        self._config = folder / "slurm.conf"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What makes the commands of Slurm talk to this cluster."""
        return {**os.environ, **self.own}

    @property
    def own(self) -> dict[str, str]:
        """What stands in the environment of every process of this cluster's jobs."""
        return {"SLURM_CONF": str(self._config)}

    def start(self) -> None:
        """Start the daemons; returns when every node is idle."""
        socket = self.folder / "munge.socket"
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(1024))
        self._start(
            "munged", "--foreground", "--force", f"--socket={socket}", f"--key-file={key}", "--num-threads=2",
            f"--pid-file={self.folder / 'munge.pid'}", f"--seed-file={self.folder / 'munge.seed'}",
        )  # fmt: skip
        wait_for(socket.exists)
        self._write_config(socket)
        self._start("slurmctld", "-D", "-i")
        for node in self.nodes:
            self.start_node(node)
        self._wait_until_idle()

    def begin_anew(self) -> None:
        """Take away jobs of another test, and start nodes that died; returns when every node is idle."""
        self.run("scancel", "--user=root")
        for node in self.nodes:
            if node not in self._daemons:
                self.start_node(node)
        self._wait_until_idle()

    def _wait_until_idle(self) -> None:
        wait_for(lambda: self.states() == dict.fromkeys(self.nodes, "idle"), self.logs)

    def start_node(self, node: str) -> None:
        """Start the daemon of a node."""
        self._start("slurmd", "-D", "-N", node, name=node)

    def fail_node(self, node: str) -> None:
        """Let a node die with everything that runs on it, and let the controller notice."""
        doomed = [self._daemons[node].pid, *self._steps_on(node)]
        processes = [process for pid in doomed for process in _with_descendants(pid)]
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.kill()
        self._daemons.pop(node).wait()
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=power")

    def start_soon(self, job: str) -> None:
        """Let a job that waits for its time, as those do that were requeued, begin."""
        self.run("scontrol", "update", f"JobId={job}", "StartTime=now")

    def run(self, *command: str, cwd: Path | None = None, **environment: str) -> str:
        """What a command of Slurm prints; AssertionError where it fails."""
        done = subprocess.run(
            command, cwd=cwd or self.folder, env={**self.environment, **environment}, capture_output=True, text=True,
            timeout=PATIENCE_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}{self.logs()}"
        return done.stdout.strip()

    def jobs(self) -> dict[str, dict[str, str]]:
        """Array task (such as 1_2) → what scontrol knows of it; tasks that have not begun may stand there together."""
        found = {}
        for line in self.run("scontrol", "show", "job", "--oneliner").splitlines():
            told = dict(word.partition("=")[::2] for word in line.split() if "=" in word)
            if "JobId" in told:
                found[f"{told.get('ArrayJobId', told['JobId'])}_{told.get('ArrayTaskId', '')}"] = told
        return found

    def states(self) -> dict[str, str]:
        """Node → its state."""
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %t").splitlines()
        return {parts[0]: parts[1] for parts in map(str.split, lines)}

    def stop(self) -> None:
        """End the daemons and what still runs on the nodes."""
        for node in self.nodes:
            for pid in self._steps_on(node):
                for process in _with_descendants(pid):
                    with contextlib.suppress(psutil.Error):
                        process.kill()
        for daemon in reversed(self._daemons.values()):
            daemon.kill()
            daemon.wait()

    def logs(self) -> str:
        """The ends of the daemons' logs, for a message."""
        return "".join(f"\n{path.name}:\n{path.read_text()[-2000:]}" for path in sorted(self.folder.glob("*.log")))

    def _start(self, *command: str, name: str = "") -> None:
        name = name or command[0]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                ("setpriv", "--pdeathsig", "KILL", *command), cwd=self.folder, env=self.environment,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def _steps_on(self, node: str) -> list[int]:
        """The slurmstepd processes of a node, told by what the jobs below them have in their environment."""
        ours = {**self.own, "SLURMD_NODENAME": node}
        found = set()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if ours.items() <= process.environ().items() and (parent := process.parent()):
                    found |= {parent.pid} if parent.name() == "slurmstepd" else set()
        return sorted(found)

    def _write_config(self, socket: Path) -> None:
        ports = [free_port() for _ in self.nodes]
        host = os.uname().nodename
        nodes = "\n".join(
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=4000 State=UNKNOWN"
            for node, port in zip(self.nodes, ports, strict=True)
        )
        self._config.write_text(f"""
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={socket},cred_expire=10
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1
ReturnToService=2
KillWait=10
MinJobAge=3600
JobRequeue=1
StateSaveLocation={self.folder / "state"}
SlurmdSpoolDir={self.folder}/spool-%n
SlurmctldPidFile={self.folder}/slurmctld.pid
SlurmdPidFile={self.folder}/slurmd-%n.pid
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
""")
        (self.folder / "state").mkdir()


@contextlib.contextmanager
def cluster(folder: Path, nodes: int) -> Iterator[Cluster]:
    """A cluster that is ended however the test ends."""
    folder.mkdir(mode=0o755)
    made = Cluster(folder, nodes)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def wait_for(condition: Callable[[], object], why: Callable[[], str] = str, seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for something that the cluster does by and by."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen in time: {why()}"
        time.sleep(0.2)


def _with_descendants(pid: int) -> Sequence[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []
