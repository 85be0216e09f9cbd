"""The page of `serve`: one document without anything of the cluster in it; its script asks for that with the token."""

from __future__ import annotations

from functools import cache

from provisioner.report.pages import digest, templates


@cache
def live_page() -> tuple[str, str]:
    """Return the page, and the policy that lets a browser run what stands in it and nothing else.

    A run's report is shown inside of it, under the same policy: its one style is among these.
    """
    ours = templates()
    run, own, script = (digest(ours.get_template(name).render()) for name in ("run.css", "live.css", "live.js"))
    policy = (f"default-src 'none'; script-src '{script}'; style-src '{run}' '{own}'; connect-src 'self'; "
              "base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
    return ours.get_template("live.html.j2").render(), policy
