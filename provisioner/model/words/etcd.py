"""What etcd says: in its journal, to its clients, and through API servers."""

from __future__ import annotations

from provisioner.model.words.row import Row

SPACE = "make room as in docs/how-to/make-room-in-etcd.md"
_STATUS = "kubewright status"

ROWS = (
    Row("etcd-no-space", r"database space exceeded|Active Alarm\(s\): NOSPACE|alarm:NOSPACE",
        "etcd is out of space and refuses every write (alarm NOSPACE)",
        ("many objects or events in a short time, more than compaction takes away",
         "it was not defragmented for long", "the quota (quota-backend-bytes) is small"), SPACE),
    Row("etcd-corrupt", r"alarm:CORRUPT|Active Alarm\(s\): CORRUPT|etcdserver: corrupt cluster|"
        r"data inconsistency detected|checkInitialHashKV|found data inconsistency with peers",
        "a member's data is not what the others have (alarm CORRUPT)",
        ("its disk lied about what it had written, at a power loss", "its data directory was copied or edited"),
        "let it join anew with empty data: docs/how-to/replace-a-lost-etcd-member.md"),
    Row("etcd-damaged-data", r"panic: (assertion failed|page \d+ already freed|freepages|invalid freelist)|"
        r"invalid database|(?P<wal>wal: crc mismatch|walpb: crc mismatch)|failed to open database|"
        r"snap: (crc mismatch|no available snapshot)", "the member's data cannot be read {wal}",
        ("power loss on a disk that does not keep its word", "the disk is failing", "the disk was full"),
        "let it join anew with empty data: docs/how-to/replace-a-lost-etcd-member.md"),
    Row("etcd-cluster-id", r"cluster ID mismatch", "two etcd clusters speak to each other: their cluster ids differ",
        ("a member founded a cluster of its own: its data directory was lost and it started as new",
         "a member of an old cluster still runs at this address"),
        "let the wrong one join anew with empty data: docs/how-to/replace-a-lost-etcd-member.md"),
    Row("etcd-removed", r"member has been permanently removed|the member has been permanently removed from the cluster|"
        r"data-dir used by this member must be removed", "this member was removed from the cluster",
        ("it was replaced, and the old machine came back",),
        "let it join anew with empty data: docs/how-to/replace-a-lost-etcd-member.md"),
    Row("etcd-not-in-cluster", r"error validating peerURLs|member count is unequal|"
        r"couldn't find local name|missing from --initial-advertise-peer-urls|has already been bootstrapped",
        "what this member was told of the cluster is not what the cluster is",
        ("its address or name was changed", "its data directory was lost: the cluster still knows the old member",
         "a file of its settings was edited"), "kubewright plan"),
    Row("etcd-version", r"cluster cannot be downgraded|cluster version is higher than|invalid downgrade|"
        r"minimum cluster version is higher", "this etcd is older than the cluster's version",
        ("the binary was replaced by an older one", "a snapshot of a newer etcd was restored"), "kubewright plan"),
    Row("etcd-no-leader", r"etcdserver: no leader|raft proposal dropped|etcdserver: leader changed|no leader at term|"
        r"etcdserver: not capable|lost the leader",
        "etcd has no leader at the moment",
        ("less than a majority of its members answers", "the network between them is slow or cut",
         "a disk takes longer than the election timeout"), _STATUS),
    Row("etcd-unhealthy", r"etcdserver: unhealthy cluster|etcdserver: re-configuration failed",
        "etcd refuses to change its members: not all of them are well",
        ("a member is down or has just started",), _STATUS),
    Row("etcd-timeout", r"etcdserver: request timed out|failed to commit proposal|apply request took too long|"
        r"error getting data from etcd", "etcd does not answer in time",
        ("less than a majority of its members answers", "its disk is slow: fsync takes long",
         "the network between the members is slow"), _STATUS),
    Row("etcd-clock", r"prober found high clock drift|clock difference against peer",
        "the clocks of etcd's hosts differ", ("nothing keeps the time there (chrony, timesyncd)",),
        "on {host}: timedatectl; systemctl status chrony systemd-timesyncd"),
    Row("etcd-too-many", r"etcdserver: too many requests|too many pending", "etcd has more to do than it takes",
        ("its disk is slow", "a client asks for very much at once"), _STATUS),
    Row("etcd-client-expired", r"remote error: tls: expired certificate",
        "the certificate that we showed has expired", ("it was not renewed in time", "the clocks differ"),
        "kubewright certs check; kubewright up"),
    Row("etcd-client-stranger", r"remote error: tls: (unknown certificate authority|bad certificate|unknown authority)",
        "the other side does not take our certificate, or we not its",
        ("it is of another CA: an old cluster, or restored secrets", "it is for another use"),
        "kubewright certs check"),
    Row("etcd-peer-certificate", r"rejected connection on (client|peer) endpoint.*?(?P<why>x509: [^\"]*)",
        "etcd refuses a caller for its certificate: {why}",
        ("the caller is of another cluster or another CA", "it has expired", "it is for another use"),
        "kubewright certs check", weak=True),
    Row("etcd-learner", r"can only promote a learner member which is in sync|etcdserver: rpc not supported for learner",
        "the new member has not caught up with the others yet", ("it copies the data still: wait",), _STATUS),
    Row("etcd-compacted", r"required revision has been compacted", "what was asked for is older than etcd keeps",
        ("a watch was cut for long: who asks begins anew by itself",), ""),
)
