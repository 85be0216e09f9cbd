"""Explanations: how we come to a host, who it is, and what it is."""

from __future__ import annotations

from provisioner.model import families
from provisioner.operate.checks import identity, kernel, leftovers, machine
from provisioner.operate.checks.explained.entry import Explained

_PYTHON = ".".join(str(part) for part in machine.PYTHON)

TEXTS: dict[str, Explained] = {
    "ssh": Explained(
        "One SSH login with the key and user of cluster.yaml, against the key that is pinned in known_hosts.",
        "Everything goes through it; nothing secret is sent to a machine whose key is not the pinned one.",
        "Each cause has its own cure beside the finding; a key that is not pinned: kubewright trust"),
    "sudo": Explained(
        "`env LC_ALL=C sudo -n` in that login, with `--ask-become` `sudo -S`, which is given the password; what sudo "
        "answers is looked up in a table of its own words (a password, requiretty, a user that sudoers does not know).",
        "Files and units of the system are root's, and a question for a password would wait for ever.",
        "kubewright check --ask-become, or on HOST: echo 'USER ALL=(ALL) NOPASSWD: ALL' > "
        "/etc/sudoers.d/kubewright"),
    "python": Explained(
        "`python3` is started with the applier on its standard input.",
        "All looking and writing on a host is done by one program of ours, in the host's own Python.",
        "on HOST: apt-get install -y python3", f"{_PYTHON} is the oldest that the applier is written for."),
    "idle": Explained(
        "The applier waits for the lock that a step of a run holds on its host.",
        "What a step is about to change cannot be judged before it has ended.",
        "Wait for the run, or look at it: kubewright runs list"),
    "ansible": Explained(
        "OpenSSH with the very options that Ansible gives it logs in, becomes root and starts /usr/bin/python3.",
        "Writes are carried by Ansible, whose ssh reads other files and refuses other things than our own.",
        "The finding has the words of ssh or sudo; a slow login: journalctl -u ssh -u systemd-logind",
        f"A login of more than {identity.SLOW_LOGIN:.0f} s is told: each step has one."),
    "forwarding": Explained(
        "A channel to the ports of etcd and of the API is opened through the host's sshd.",
        "etcd and the API are asked through SSH; an sshd that forbids forwarding lets no gate be proved.",
        "In sshd_config: AllowTcpForwarding local, DisableForwarding no, PermitOpen any; systemctl reload ssh"),
    "sshd": Explained(
        "`sshd -T` on the host, which prints the limits as sshd reads its own files.",
        "With fewer sessions or logins at a time than we open, everything still works and takes longer; many logins at "
        "once are dropped.",
        "on HOST: take the line out of sshd_config or its .d; systemctl reload ssh",
        f"{leftovers.SESSIONS} sessions of one login and {leftovers.STARTUPS} logins at a time are ours."),
    "init": Explained(
        "/run/systemd/system is there, as sd_booted(3) has it.",
        "Everything of ours is a unit of systemd.", "Take a machine that boots with systemd."),
    "os": Explained(
        "ID and VERSION_ID of /etc/os-release.",
        "Names of packages, paths and units are those of systems that we have run on.",
        "Install a supported system; `--skip os` tries it all the same.",
        f"Supported: {families.SUPPORTED}."),
    "arch": Explained(
        "uname's machine, against the architectures that artifacts.lock pins.",
        "A binary of another architecture does not start.", "kubewright artifacts build --write-lock --arch ARCH"),
    "systemd": Explained(
        "`systemctl --version`, and `systemctl show` of each unit that runs on this host.",
        "An older systemd leaves out the confinement that units ask for; a masked unit does not start, whatever is "
        "written over it.",
        "on HOST: systemctl unmask UNIT", f"systemd {families.SYSTEMD} is the first with ProtectProc=."),
    "python-modules": Explained(
        "The host's Python looks for each standard module that the applier and Ansible's modules import.",
        "Minimal Pythons leave some out, and a run would end at the first that is missing.",
        "on HOST: apt-get install -y python3"),
    "kernel": Explained(
        "/proc/filesystems, /sys/module, and below /lib/modules of the running kernel modules.builtin and modules.dep; "
        "in a container the kernel's configuration.",
        "containerd mounts overlay, kube-proxy writes nf_tables, flannel's network is vxlan. After an upgrade of the "
        "kernel without a boot, the modules of the one that runs are gone.",
        "on HOST: systemctl reboot, or install a kernel of the distribution",
        f"Linux {'.'.join(map(str, families.NFTABLES_KERNEL))} for kube-proxy in nftables mode: its own limit, "
        "pkg/util/kernel/constants.go. br_netfilter is not asked for: Pods' packets pass no bridge here."),
    "cgroup": Explained(
        "/sys/fs/cgroup/cgroup.controllers, which only version 2 has.",
        "The kubelet of 1.35 and later refuses cgroup v1 unless it is told not to.",
        "Boot with systemd.unified_cgroup_hierarchy=1, or in cluster.yaml: config: {kubelet: {failCgroupV1: false}}"),
    "controllers": Explained(
        "/sys/fs/cgroup/cgroup.controllers, or /proc/cgroups where cgroups are of version 1.",
        "The kubelet limits Pods with them and refuses to start without; boards often boot with memory turned off.",
        "on HOST: cgroup_enable=memory on the kernel's command line, and a reboot",
        f"Needed: {', '.join(kernel.CONTROLLERS)}."),
    "capabilities": Explained(
        "CapBnd of /proc/self/status.", "A container's root often may not mount, set up networks or make devices: no "
        "container starts there, and the words for it come late.",
        "Start the container with all capabilities, or take a virtual machine."),
    "devices": Explained(
        f"Whether {', '.join(kernel.DEVICES)} is there.", "The kubelet reads the kernel's messages and ends without "
        "them; containers are often not given the file.", "Bind it into the container: --bind=/dev/kmsg"),
    "confinement": Explained(
        "/sys/fs/selinux/enforce, /sys/module/apparmor/parameters/enabled, and whether apparmor_parser is there.",
        "SELinux may keep programs from running that no policy knows, but for systems that the check `selinux` is "
        "about. Without its parser, AppArmor's default profile for containers is not loaded.",
        "on HOST: setenforce 0 (and in /etc/selinux/config), or apt-get install -y apparmor"),
    "selinux": Explained(
        "/sys/fs/selinux/enforce, and whether semodule and restorecon are there.",
        "On RHEL and its kin `up` adds a module of rules to the policy, `kubewright`: labels of what lies in "
        "/opt/kubewright, the ports of HAProxy, the scripts of keepalived. reset takes it away.",
        "on HOST: dnf install -y policycoreutils; while something fails: ausearch -m avc -ts recent"),
    "address": Explained(
        "`ip -json address show`, against the addresses of cluster.yaml.",
        "etcd, the kubelet and certificates are bound to the address; it is also how a wrong machine behind an SSH "
        "address is told.", "In cluster.yaml: hosts.HOST.address or hosts.HOST.ssh.host, whichever is wrong."),
    "own-address": Explained(
        "`ip -json address show` of every host, against the addresses of cluster.yaml.",
        "VirtualBox's NAT gives 10.0.2.15 to each of its machines: they have it, as the check before asks, and whoever "
        "calls it reaches itself.",
        "In cluster.yaml: hosts.HOST.address: the one of the network that the machines share."),
    "hostname": Explained(
        "The name that the kernel has, compared over all hosts without regard to case.",
        "Machines of one name are copies of one image more often than not, and logs do not tell them apart.",
        "on HOST: hostnamectl set-hostname NAME"),
    "machine-id": Explained(
        "/etc/machine-id, compared over all hosts.",
        "It is the sign of a cloned root; DHCP and the journal take two such machines for one.",
        "on HOST: rm -f /etc/machine-id && systemd-machine-id-setup && systemctl reboot"),
    "product": Explained(
        "/sys/class/dmi/id/product_uuid, compared over all hosts; not in a container.",
        "Drivers for storage tell nodes by it. Some boards are all made with one, hence a warning.",
        "Give the virtual machine a UUID of its own in its hypervisor."),
    "mac": Explained(
        "The hardware address of the interface that carries the host's address, compared over all hosts.",
        "A switch sends to the one or the other, so both are lost now and then.",
        "Give the virtual machine a MAC of its own in its hypervisor, and boot it."),
    "host-key": Explained(
        "The first of /etc/ssh/ssh_host_*_key.pub, compared over all hosts.",
        "Keys baked into an image are the same on all machines: who has one can pose as any other.",
        "on HOST: rm /etc/ssh/ssh_host_* && ssh-keygen -A && systemctl restart ssh; kubewright trust HOST --replace"),
    "clock": Explained(
        "Each host tells its time in the answer that it gives anyway; what the round trip may explain is left out. "
        "From "
        f"{machine.CLOCKS} hosts on they are compared with their median, else with this machine.",
        "Certificates begin to hold at a moment, leases and tokens end at one.",
        "on HOST: timedatectl set-ntp true",
        f"{machine.CLOCK_WARN} s is told (etcd warns of one), {machine.CLOCK_ERROR:.0f} s is refused."),
    "timekeeper": Explained(
        "`systemctl show` of systemd-timesyncd, chrony, ntpd and their kin, and adjtimex(2): does the kernel hold the "
        "clock for set? Not in a container, which has the clock of the machine below.",
        "A clock that is right today and that nobody keeps is wrong in a month.",
        "on HOST: apt-get install -y systemd-timesyncd && timedatectl set-ntp true"),
    "cloud-routes": Explained(
        "`systemctl show` of nm-cloud-setup's timer and service.",
        "RHEL's images for clouds have it on. Its rules come before the main table, in which the ways to Pods of other "
        "nodes are.",
        "on HOST: systemctl disable --now nm-cloud-setup.timer nm-cloud-setup.service && systemctl reboot"),
    "cpus": Explained(
        "The CPUs that a process may use.", "With one, a control plane runs, and its elections are late.",
        "Give the machine more CPUs.", f"{machine.CONTROL_PLANE_CPUS} for a control plane, as kubeadm asks for."),
    "memory": Explained(
        "MemTotal of /proc/meminfo.", "A control plane with less is killed by the kernel sooner or later.",
        "Give the machine more memory.",
        f"{machine.CONTROL_PLANE_MIB} MiB for a control plane, kubeadm's ControlPlaneMem; {machine.WORKER_MIB} MiB for "
        "a node: what its services take, and the system."),
}
