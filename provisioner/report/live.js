"use strict";
// Everything that is shown came from hosts and goes into the page as text, never as markup.
const token = location.hash.slice(1);
const at = (id, what) => document.querySelector(`#${id} ${what}`);

function made(tag, text, style) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (style) element.className = style;
  return element;
}

async function ask(place) {
  const answer = await fetch(place, {headers: {Authorization: `Bearer ${token}`}, cache: "no-store"});
  if (!answer.ok) throw new Error(answer.status === 403 ? "The token in this page's address is not the one that was printed." : `${place}: ${answer.status}`);
  return answer;
}

function table(place, heads, rows) {
  const whole = made("table"), head = made("tr"), body = made("tbody");
  heads.forEach(text => head.append(made("th", text)));
  for (const row of rows) {
    const line = made("tr");
    for (const cell of row) {
      const field = made("td", cell instanceof Node ? undefined : cell.text ?? cell, cell.style);
      field.dataset.head = heads[line.children.length];      // where there is no room for columns, each says its own
      if (cell instanceof Node) field.append(cell);
      if (field.textContent === "-") field.classList.add("none");
      line.append(field);
    }
    body.append(line);
  }
  const top = made("thead");
  top.append(head);
  whole.append(top, body);
  place.replaceChildren(rows.length ? whole : made("p", "None.", "soft"));
}

function notice(text, style) {
  const place = document.getElementById("notice");
  place.textContent = text;
  place.className = style;
}

function facts(pairs) {
  document.getElementById("facts").replaceChildren(...pairs.filter(([, value]) => value).map(([name, value]) => {
    const one = made("div");
    one.append(made("dt", name), made("dd", value));
    return one;
  }));
}

function finding(one) {
  const style = one.severity === "warning" ? "warn" : "bad", box = made("div", undefined, `finding ${style}`);
  const head = made("p");
  head.append(made("strong", one.urgency.toUpperCase(), style), ` ${one.host ? `${one.host}: ` : ""}${one.saw}`);
  box.append(head);
  if (one.means) box.append(made("p", one.means));
  for (const also of one.also) box.append(made("p", `so also: ${also.host ? `${also.host}: ` : ""}${also.saw}`, "soft"));
  if (one.cure) box.append(made("pre", one.cure));
  return box;
}

async function open(run) {
  const frame = at("report", "iframe");
  frame.srcdoc = await (await ask(`/runs/${run}`)).text();
  document.getElementById("report").showModal();
}

function runs(list) {
  table(at("runs", "div"), ["Run", "Verb", "By", "Ended", "Took", "Changes", ""], list.map(run => {
    const button = made("button", "Report");
    button.addEventListener("click", () => open(run.id).catch(fault => notice(fault.message, "bad")));
    const style = {done: "good", running: "plain"}[run.outcome] ?? "bad";
    return [{text: run.id, style: "path whole"}, run.verb, run.who, {text: run.outcome, style}, `${Math.round(run.seconds)} s`,
      String(run.changes), button];
  }));
}

function differences(text) {
  at("differences", "pre").replaceChildren(...(text || "None.").split("\n").map(line => {
    const word = line.trimStart();
    return made("span", line, /^\+(?!\+\+)/.test(word) ? "plus" : /^-(?!--)/.test(word) ? "minus" : "");
  }));
}

function show(state) {
  const wrong = state.error ? "bad" : state.healthy ? "good" : "bad";
  document.title = `${state.cluster}: ${state.error ? "not seen" : state.healthy ? "healthy" : "needs attention"}`;
  document.getElementById("title").replaceChildren(`Cluster ${state.cluster}: `,
    made("span", state.error ? "not seen" : state.looked ? state.healthy ? "healthy" : "needs attention" : "looking", wrong));
  const when = state.looked ? `Looked at ${new Date(state.looked * 1000).toLocaleTimeString()}, in ${state.seconds} s.` : "The first look is under way.";
  notice(state.error || when, state.error ? "bad" : "soft");
  at("present", "pre").textContent = state.present || "No run yet.";
  runs(state.runs);
  if (!state.looked) return;
  facts([["Kubernetes", state.kubernetes], ["API", state.api], ["VIP on", state.vip_holder], ["Quorum", state.quorum],
    ["Snapshots", state.snapshots], ["Lock", state.lock]]);
  table(at("hosts", "div"), ["Host", "Roles", "Version", "API", "etcd", "kubelet", "Certificates", "Drift", "Units down"],
    state.hosts.map(h => [{text: h.host, style: "whole"}, {text: h.roles, style: "whole"}, h.version, h.api, {text: h.etcd, style: "whole"},
      {text: h.kubelet, style: ["Ready", "-"].includes(h.kubelet) ? "" : "bad"},
      h.drift === null ? "?" : h.certs_days === null ? "-" : `${h.certs_days} d`,
      {text: h.drift === null ? "?" : h.drift ? String(h.drift) : "-", style: h.drift ? "warn" : ""},
      {text: h.units_down.join(", ") || "-", style: h.units_down.length ? "bad" : ""}]));
  at("doctor", "div").replaceChildren(...(state.findings.length ? state.findings.map(finding) : [made("p", "Nothing.", "good")]),
    ...(state.unseen.length ? [made("p", `Not looked at: ${state.unseen.map(f => `${f.check} on ${f.host}`).join(", ")}`, "soft")] : []));
  differences(state.differences);
  table(at("certificates", "div"), ["Where", "File", "Kind", "State", "Ends", "Left"], state.certificates.map(c =>
    [{text: c.host, style: "whole"}, {text: c.path, style: "path"}, c.kind, {text: c.note ? `${c.state}: ${c.note}` : c.state,
      style: {ok: "good", due: "warn"}[c.state] ?? "bad"}, {text: c.not_after.slice(0, 10), style: "whole"},
      c.days_left === null ? "-" : `${c.days_left} d`]));
}

async function turn() {
  try {
    show(await (await ask("/state")).json());
  } catch (fault) {
    notice(fault instanceof TypeError ? "The command that serves this page has ended." : fault.message, "bad");
  }
  setTimeout(turn, 2000);
}

document.querySelectorAll("nav a").forEach(link => link.addEventListener("click", event => {
  event.preventDefault();     // the address keeps the token
  document.getElementById(link.dataset.to).scrollIntoView();
}));
turn();
