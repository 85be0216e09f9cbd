"""Give a node a defect, take it away, say which it has.

What is in force is written on the node's own disk before anything is done, so that it goes with the disk (a snapshot, a
reset) and a killed command leaves nothing that `undo` does not know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from provisioner.errors import GateFailed, KubewrightError, UsageFault
from provisioner.lab import leftovers, network, nodes, processes
from provisioner.lab.defects import programs
from provisioner.lab.defects.defect import Defect
from provisioner.lab.defects.table import BY_NAME, DEFECTS
from provisioner.lab.instance import Instance, lab_network
from provisioner.model.cluster import Cluster, Host

PLACE = "etc/lab-node/defects"
SECONDS = 60.0          # installing a package is the longest
_ROOT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8",
         "DEBIAN_FRONTEND": "noninteractive"}
# "$@" are the files of the defect. One that is kept already was begun before: what was there then is what comes back.
_KEEP = f"""kept=/{PLACE}/$DEFECT
if [ ! -e "$kept/files.tar" ]; then
  mkdir -p "$kept"
  for file do
    [ ! -e "$file" ] && [ ! -L "$file" ] || printf '%s\\n' "${{file#/}}"
  done > "$kept/names"
  tar -C / --format=posix -cf "$kept/part" -T "$kept/names"
  mv "$kept/part" "$kept/files.tar"
fi
"""
_BACK = f"""kept=/{PLACE}/$DEFECT
if [ -e "$kept/files.tar" ]; then
  for file do
    rm -rf -- "$file"
  done
  tar -C / -xpf "$kept/files.tar"
fi
"""
_FORGET = f"rm -rf /{PLACE}/$DEFECT; rmdir /{PLACE} 2>/dev/null || true"


def inject(instance: Instance, cluster: Cluster, host: str, defects: Sequence[Defect]) -> None:
    """Give the node these defects, one after the other; refuse what its roles or its other defects do not allow."""
    _refuse_what_clashes(instance, cluster, host, defects)
    shared = _variables(instance, cluster, host)
    for defect in defects:
        if defect.outside:
            _run(instance, host, defect, _KEEP, shared)
            _run(instance, host, defect, defect.do, shared, outside=True)
        else:
            _run(instance, host, defect, f"{_KEEP}\n{defect.do}", shared)


def undo(instance: Instance, cluster: Cluster, host: str, names: Sequence[str]) -> None:
    """Put back what the node was before these defects, the last first; what is undone already is fine."""
    shared = _variables(instance, cluster, host)
    for defect in (BY_NAME[name] for name in reversed(names)):
        within = "" if defect.outside else defect.undo
        if defect.outside:
            _run(instance, host, defect, defect.undo, shared, outside=True)
        _run(instance, host, defect, "\n".join((within, _BACK, defect.after, _FORGET)), shared)


def in_force(instance: Instance, host: str) -> tuple[Defect, ...]:
    """Return the defects that the node's disk tells of, in the order of the table."""
    place = nodes.paths(instance, host).root / PLACE
    there = {path.name for path in place.iterdir()} if place.is_dir() else set()
    return tuple(defect for defect in DEFECTS if defect.name in there)


def fits(cluster: Cluster, host: Host, defect: Defect) -> bool:
    """Say whether the defect is one for a host of these roles."""
    control_plane = host.name in {h.name for h in cluster.control_planes}
    return {"any": True, "control-plane": control_plane, "node": host.is_node,
            "worker": host.is_node and not control_plane}[defect.at]


def clash(defects: Sequence[Defect]) -> str:
    """Return why these do not go together on one host, empty where they do."""
    places = [defect.place for defect in defects if defect.place]
    twice = next((place for place in places if places.count(place) > 1), "")
    alone = next((defect for defect in defects if defect.alone and len(defects) > 1), None)
    if alone:
        return f"{alone.name} goes with no other: {alone.alone}"
    return f"{', '.join(d.name for d in defects if d.place == twice)} are about one place: {twice}" if twice else ""


def _refuse_what_clashes(instance: Instance, cluster: Cluster, host: str, defects: Sequence[Defect]) -> None:
    wrong = [defect for defect in defects if not fits(cluster, cluster.machine(host), defect)]
    if wrong:
        raise UsageFault(f"{host}: {', '.join(d.name for d in wrong)}: for a host with the role {wrong[0].at}",
                         hint="kubewright lab fault list")
    why = clash(tuple({defect.name: defect for defect in (*in_force(instance, host), *defects)}.values()))
    if why:
        raise UsageFault(f"{host}: {why}", hint=f"kubewright lab fault undo {host}")


def _run(instance: Instance, host: str, defect: Defect, script: str, shared: Mapping[str, str], *,
         outside: bool = False) -> None:
    """Run a script of the table as root in the node, or beside it in the lab's network."""
    init = nodes.running_init(instance, host)
    command = ["sh", "-ec", script, defect.name, *defect.files]
    entered = network.in_network(instance, command) if outside else nodes.entered(init, command)
    try:
        processes.run(entered, doing="a defect", seconds=SECONDS,
                      environment={**shared, "DEFECT": defect.name, "UNIT": defect.unit})
    except KubewrightError as error:
        raise GateFailed(f"{host}: {defect.name}: {' '.join(error.details) or error.message}",
                         hint=f"kubewright lab fault undo {host}", code="lab-defect") from error


def _variables(instance: Instance, cluster: Cluster, host: str) -> dict[str, str]:
    own, place = cluster.machine(host), lab_network(cluster)
    alike = [h for h in cluster.machines if h.name != host and set(h.roles) == set(own.roles)]
    peer = next((h for h in (*alike, *cluster.machines) if h.name != host), own)
    vip = cluster.api.vip
    return {
        **_ROOT, "NAME": host, "ADDRESS": own.address, "GATEWAY": place.gateway,
        "PREFIX": str(place.prefix), "VIP": str(vip or ""), "PEER": peer.name, "PEER_ADDRESS": peer.address,
        "VRID": str(cluster.api.virtual_router_id or (int(vip) & 0xFF if vip else 0) or 51),
        "LINK": leftovers.link_of(instance.machine(host), network.links(instance)) or "",
        "PEER_MACHINE_ID": _text(instance, peer.name, "etc/machine-id"),
        "PEER_KEY": _text(instance, peer.name, "etc/ssh/ssh_host_ed25519_key.pub"),
        "LISTEN": programs.LISTEN, "ANSWER": programs.ANSWER, "STRANGER": programs.STRANGER,
    }


def _text(instance: Instance, host: str, file: str) -> str:
    """Return the text of a node's file; empty where its disk is not mounted."""
    path = nodes.paths(instance, host).root / file
    return path.read_text(encoding="ascii").strip() if path.is_file() else ""
