"""Three replicas behind a Service and a budget, which drains and upgrades move while they are asked."""

from __future__ import annotations

from string import Template

from tests.lab.load import LEDGER
from tests.lab.machines import Lab

# Serves on until everybody has heard that it goes: the endpoints' change needs a moment to reach every node.
_OBJECTS = Template("""
apiVersion: apps/v1
kind: Deployment
metadata: {name: $name}
spec:
  replicas: 3
  selector: {matchLabels: {app: $name}}
  template:
    metadata: {labels: {app: $name}}
    spec:
      terminationGracePeriodSeconds: $grace
      containers:
      - name: $name
        image: kubewright.local/busybox:1
        imagePullPolicy: Never
        command: [sh, -c, 'cd /www; echo yes > ready; exec httpd -f -p 8080 -h /www']
        readinessProbe: {httpGet: {path: /ready, port: 8080}, periodSeconds: 1, failureThreshold: 1, timeoutSeconds: 5}
        lifecycle: {preStop: {sleep: {seconds: $goes_on}}}
---
apiVersion: v1
kind: Service
metadata: {name: $name}
spec: {selector: {app: $name}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: $name}
spec: {$budget, selector: {matchLabels: {app: $name}}}
""")


def objects(name: str, budget: str, *, goes_on: int, grace: int) -> str:
    """Return them as documents: `budget` as its spec says it (`minAvailable: 1`), and how many seconds a Pod that is to
    end goes on serving, of those that it has.
    """
    return _OBJECTS.substitute(name=name, budget=budget, goes_on=goes_on, grace=grace)


def serves(lab: Lab, name: str) -> str:
    """Let three replicas serve, each 5 s on when it is to end, make room for a ledger, and return their documents."""
    documents = objects(name, "minAvailable: 1", goes_on=5, grace=10)
    lab.kubectl("create", "namespace", LEDGER)
    lab.kubectl("apply", "-f", "-", stdin=documents)
    lab.kubectl("rollout", "status", f"deployment/{name}", "--timeout=120s")
    return documents
