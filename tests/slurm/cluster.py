"""A real Slurm cluster on one machine: slurmctld, munge, and a slurmd per node, each node with a network of its own.

Needs root on Linux and Debian's packages slurmctld, slurmd, slurm-client, munge and iproute2. By hand::

    python -m tests.slurm.cluster FOLDER     # prints what to set, and runs until Ctrl-C

Everything lies in one folder and in network namespaces and a bridge named after this process; what ends is what was
started here.
"""

import os
import secrets
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

PROGRAMS = (
    "slurmctld",
    "slurmd",
    "munged",
    "sbatch",
    "srun",
    "scontrol",
    "squeue",
    "ip",
    "nsenter",
    "setpriv",
    "unshare",
)
REQUEUE_S = 5
"""Slurm starts a requeued job again once its credential has expired."""

CONFIGURATION = """\
ClusterName=lrps
SlurmctldHost=controller({net}.200)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire={requeue_s}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/log/slurmctld
SlurmdLogFile={folder}/log/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
SlurmdTimeout=10
KillWait=20
MinJobAge=3600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=batch_sched_delay=0,bf_interval=1,sched_interval=2,sched_min_interval=0
NodeName=node[1-{nodes}] NodeAddr={net}.[1-{nodes}] CPUs=8 RealMemory=64000 Gres=gpu:8 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=ALL PriorityTier=10 MaxTime=INFINITE State=UP
"""

# /etc/hosts and /dev/shm are a node's own. The shell is the namespace's first process: while it lives, so do the jobs,
# as on a machine whose slurmd has died.
NODE = """
mount --bind "$1/hosts" /etc/hosts && mount -t tmpfs tmpfs /dev/shm && hostname "$2" || exit 1
shift 2
"$@" &
while sleep 1; do :; done
"""


def missing() -> str:
    """Why no cluster can be started here; empty where one can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux, for network namespaces"
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    if absent:
        return f"needs {', '.join(absent)}: apt install slurmctld slurmd slurm-client munge iproute2"
    tried = subprocess.run(
        ["unshare", "--net", "--uts", "--ipc", "--pid", "--mount", "--fork", "--mount-proc", "true"],
        env={"PATH": _path()}, capture_output=True, text=True,
    )  # fmt: skip
    return f"needs Linux namespaces: {tried.stderr.strip()}" if tried.returncode else ""


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Cluster:
    """A cluster of ``nodes`` nodes, from ``with`` to its end; its files lie in ``folder``, which must not exist.

    ``settings`` are further lines of slurm.conf.
    """

    def __init__(self, folder: Path, nodes: int = 4, settings: str = "") -> None:
        self._settings = settings
        self.folder, self.nodes = folder, [f"node{number}" for number in range(1, nodes + 1)]
        self._net = _free_net()
        self._tag = f"lr{secrets.token_hex(3)}"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def env(self) -> dict[str, str]:
        """What makes Slurm's commands talk to this cluster."""
        return {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": _path()}

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True)
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in (*self.nodes, "controller", "munged"):
            self.end(name)
        for name in (*self.nodes, "controller"):
            subprocess.run(["ip", "netns", "del", f"{self._tag}-{name}"], env=self._environment, capture_output=True)
        subprocess.run(["ip", "link", "del", self._tag], env=self._environment, capture_output=True)

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self.env}

    def run(self, *command: str | Path, check: bool = True) -> str:
        """The output of a command of Slurm's."""
        done = subprocess.run(
            [str(part) for part in command], env=self._environment, capture_output=True, text=True, timeout=300
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}")
        return done.stdout.strip()

    def until(self, true: Callable[[], object], what: str, seconds: float = 300) -> None:
        """Wait until something is true; fail naming it, with the queue.

        The time is for machines that do much else beside it: what is awaited comes within seconds on an idle one.
        """
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s: {what}\n{self.run('squeue', '-t', 'all', check=False)}")
            time.sleep(0.2)

    def state(self, job: str) -> str:
        """A job's state in Slurm's word, such as RUNNING."""
        return self.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%T")

    def end(self, name: str) -> None:
        """End a node with all that runs on it, as a power failure would; or a daemon."""
        process = self._processes.pop(name, None)
        if process is not None:
            process.send_signal(signal.SIGTERM if name == "munged" else signal.SIGKILL)
            process.wait(timeout=300)

    def end_daemon(self, name: str) -> None:
        """Kill a node's slurmd, and nothing else: its jobs go on."""
        (shell,) = _children(self._processes[name].pid)
        for pid in _children(shell):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "slurmd":
                os.kill(pid, signal.SIGKILL)

    def cut(self, name: str) -> None:
        """Cut a node off the network; all that runs on it goes on."""
        self.run("ip", "link", "set", self._link(name), "down")

    def join(self, name: str) -> None:
        """Connect a node again that was cut off."""
        self.run("ip", "link", "set", self._link(name), "up")

    def start_node(self, name: str) -> None:
        """Start a node, or one that was ended again."""
        self._spawn(name, "slurmd", "-D", "-N", name)

    def _start(self) -> None:
        for name in ("state", "spool", "log", "munge"):
            (self.folder / name).mkdir()
        (self.folder / "munge").chmod(0o755)
        key = self.folder / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        addresses = {name: f"{self._net}.{number}" for number, name in enumerate(self.nodes, 1)}
        addresses["controller"] = f"{self._net}.200"
        hosts = "".join(f"{address} {name}\n" for name, address in addresses.items())
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
        (self.folder / "dev").mkdir()
        for number in range(8):  # Slurm counts the files of a node's GPUs; these are the null device
            os.mknod(self.folder / "dev" / f"gpu{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/dev/gpu[0-7]\n")
        text = CONFIGURATION.format(net=self._net, folder=self.folder, requeue_s=REQUEUE_S, nodes=len(self.nodes))
        (self.folder / "slurm.conf").write_text(f"{text}{self._settings}\n")
        munge = self.folder / "munge"
        options = {"socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed", "key-file": "key"}
        munged = [
            "munged",
            "--foreground",
            "--force",  # a folder that only root may enter will do
            *(f"--{option}={munge / file}" for option, file in options.items()),
        ]
        self._processes["munged"] = self._popen(munged, "munged")
        self.until((munge / "socket").exists, "munged listens")
        self.run("ip", "link", "add", self._tag, "type", "bridge")
        self.run("ip", "addr", "add", f"{self._net}.254/24", "dev", self._tag)
        self.run("ip", "link", "set", self._tag, "up")
        for name, address in addresses.items():
            self._connect(name, address)
        self._spawn("controller", "slurmctld", "-D")
        for name in self.nodes:
            (self.folder / "spool" / name).mkdir()
            self.start_node(name)
        self.until(lambda: self.idle() == len(self.nodes), "all nodes are idle")

    def idle(self) -> int:
        """How many nodes are idle."""
        states = self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%T", check=False).split()
        return sum(state in ("idle", "planned") for state in states)

    def _link(self, name: str) -> str:
        """The end of a node's cable that is on this machine."""
        return f"{self._tag}v{[*self.nodes, 'controller'].index(name)}"

    def _connect(self, name: str, address: str) -> None:
        space, here = f"{self._tag}-{name}", self._link(name)
        self.run("ip", "netns", "add", space)
        self.run("ip", "link", "add", here, "type", "veth", "peer", "name", "eth0", "netns", space)
        self.run("ip", "link", "set", here, "master", self._tag, "up")
        self.run("ip", "-n", space, "link", "set", "lo", "up")
        self.run("ip", "-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        self.run("ip", "-n", space, "link", "set", "eth0", "up")

    def _spawn(self, name: str, *daemon: str) -> None:
        # Not `ip netns exec`: it remounts /sys, without the cgroups that slurmd looks for.
        inside = ["nsenter", f"--net=/run/netns/{self._tag}-{name}"]
        alone = ["unshare", "--uts", "--ipc", "--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]
        shell = ["bash", "-c", NODE, "node", str(self.folder), name, *daemon]
        self._processes[name] = self._popen([*inside, *alone, *shell], name)

    def _popen(self, command: list[str], name: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log" / f"{name}.out").open("ab") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *command],  # a test run that is killed leaves no cluster
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def _free_net() -> str:
    """A network of RFC 2544, for tests and routed nowhere, that no cluster beside this one has."""
    taken = subprocess.run(["ip", "-o", "addr"], capture_output=True, text=True, env={"PATH": _path()}).stdout
    while (net := f"198.{18 + secrets.randbelow(2)}.{secrets.randbelow(250) + 1}") + "." in taken:
        pass
    return net


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def main() -> None:
    """Run a cluster until Ctrl-C."""
    if reason := missing():
        sys.exit(reason)
    with Cluster(Path(sys.argv[1]).resolve()) as cluster:
        print(f"export SLURM_CONF={cluster.env['SLURM_CONF']}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()
