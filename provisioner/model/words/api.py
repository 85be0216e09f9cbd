"""What API servers and those who call them say: Go programs, kubectl, and the Python that we use."""

from __future__ import annotations

from provisioner.model.words.row import Row

_CERTS = "kubewright certs check"

ROWS = (
    Row("tls-expired", r"certificate has expired \(|x509: certificate has expired or is not yet valid.* is after",
        "the certificate has expired", ("it was not renewed in time: `up` renews below 30 % of its life",
                                        "the clock of this machine is ahead"), f"{_CERTS}; kubewright up"),
    Row("tls-not-yet", r"certificate is not yet valid|has expired or is not yet valid.* is before",
        "the certificate is not valid yet", ("the clock of the one who asks is behind",), "date -u; kubewright check"),
    Row("tls-wrong-name", r"certificate is (valid for (?P<names>[^\"]*), not (?P<asked>[\w.:-]+))|"
        r"(Hostname|IP address) mismatch, certificate is not valid for '(?P<also>[^']*)'|doesn't contain any IP SANs",
        "the certificate does not name {asked}{also}",
        ("the address or name is new: it is not in `api.extra_sans` or the inventory",
         "another machine answers at that address"), "kubewright up; kubewright certs check"),
    Row("tls-unknown-authority", r"certificate signed by unknown authority|unable to get local issuer certificate|"
        r"self[- ]signed certificate in certificate chain", "the certificate is of a CA that is not trusted here",
        ("another cluster answers at that address", "the kubeconfig is of an older cluster of that name",
         "a proxy on the way opens TLS"), "kubewright kubeconfig; kubewright certs check"),
    Row("api-webhook", r"failed calling webhook [\\\"]+(?P<webhook>[\w.-]++).*?: (?P<why>[^:]*(: [^:]*)?)$",
        "an admission webhook does not answer, and nothing passes without it: {webhook} ({why})",
        ("the Pod behind it is down: its own Pods may wait for it too", "the Pod network or DNS is broken",
         "its certificate has expired"),
        "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations | grep {webhook}"),
    Row("api-denied", r"admission webhook \"(?P<webhook>[\w.-]+)\" denied the request|"
        r"ValidatingAdmissionPolicy '(?P<policy>[\w.-]+)' .*denied request|"
        r"violates PodSecurity \"(?P<level>[\w:.-]+)\"",
        "a rule of this cluster forbids it ({webhook}{policy}{level})",
        ("somebody set the rule on purpose",),
        "kubectl get validatingadmissionpolicies; kubectl get namespaces --show-labels"),
    Row("api-quota", r"exceeded quota: (?P<quota>[\w.-]+)", "a quota of the namespace is used up: {quota}",
        ("somebody set the quota on purpose",), "kubectl describe resourcequota -A"),
    Row("api-terminating", r"because it is being terminated", "the namespace is being removed",
        ("somebody deleted it", "a finalizer of what is in it holds it up"), "kubectl get namespaces"),
    Row("api-unauthorized", r"(?<![\w-])401 Unauthorized|Unauthorized$|has asked for the client to provide credentials",
        "the API does not know who asks",
        ("the certificate is of another cluster's CA, or has expired", "the token has ended",
         "the clocks differ"), f"kubewright kubeconfig; {_CERTS}"),
    Row("api-forbidden", r"is forbidden: User [\\\"]+(?P<who>[^\"\\]*)[\\\"]+ cannot (?P<verb>\w+) "
        r"resource [\\\"]+(?P<what>[\w./-]+)",
        "the API does not let {who} {verb} {what}",
        ("no role of RBAC is bound to that user", "a binding was removed"),
        "kubectl auth can-i {verb} {what} --as YOU"),
    Row("api-throttled", r"429 Too Many Requests|too many requests, please try again later|"
        r"the server has received too many requests", "the API has more to do than it takes",
        ("a controller or script asks in a loop", "etcd is slow, so requests pile up"),
        "kubectl get --raw /metrics | grep apiserver_flowcontrol_rejected_requests_total"),
    Row("api-aggregated", r"503 service unavailable|Metrics API not available|"
        r"the server is currently unable to handle the request",
        "what stands behind this part of the API does not answer",
        ("its Pod is down (metrics-server and the like)", "the Pod network is broken between it and the API servers"),
        "kubectl get apiservices | grep False"),
    Row("api-slow", r"unable to return a response in the time allotted|"
        r"code = Unavailable desc = keepalive ping failed|Read timed out",
        "the API server took the request and does not answer",
        ("etcd has no majority or a slow disk", "a webhook hangs", "the API server hangs"), "kubewright status"),
    Row("api-readyz", r"\[-\](?P<what>[\w/-]+) failed", "the API server says that it is not ready: {what}",
        ("etcd, if it says so, does not answer", "it has just started and reads what there is"), "kubewright status"),
    Row("api-refused", r"dial tcp (?P<place>\S+): connect: connection refused|"
        r"The connection to the server (?P<also>\S+) was refused|"
        r"host='(?P<name>[^']*)', port=(?P<number>\d+).*Errno 111",
        "nobody listens at {place}{also}{name} {number}",
        ("the program there is down or has just been started", "no load balancer holds the VIP",
         "the address or port is another's"), "kubewright status", weak=True),
    Row("api-unreachable", r"dial tcp (?P<place>\S+): (i/o timeout|connect: (no route to host|network is unreachable))"
        r"|host='(?P<name>[^']*)', port=(?P<number>\d+).*(Errno 113|ConnectTimeoutError)",
        "nobody answers at {place}{name} {number}",
        ("the host is down or cut off", "a firewall between them", "no host holds the VIP"), "kubewright status"),
)
