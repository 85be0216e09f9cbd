"""The contract of the command line: exit codes, streams, and what a verb may cost before it runs."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from provisioner.cli import main as command
from provisioner.cli.context import Context
from provisioner.cli.failure import failure_text
from provisioner.cli.verbs import ALIASES, NOT_YET, SECTIONS, Verb, existing_verbs, suggest
from provisioner.errors import GateFailed
from provisioner.model.phases import BEGINNINGS, PHASES
from provisioner.orchestrate.run.verbs import UP
from tests.fakes.example import copy

ROOT = Path(__file__).parents[3]
HEAVY = ("pydantic", "yaml", "paramiko", "fabric", "kubernetes", "ansible", "ansible_runner", "jinja2", "rich",
         "cryptography", "grpc")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAiUKfncuWSokX3LVyysFBQf4zzgKKxGumVZPqiKkGca"
VERB_NAMES = [verb.name for verbs in SECTIONS.values() for verb in verbs]


def run(*args: str, cwd: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in this process, as it would run in a directory and an environment of its own."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        keep_hooks(patch)
        patch.chdir(cwd)
        for name, value in {"KUBEWRIGHT_INVENTORY": "", **environ}.items():
            patch.setenv(name, value)
        code = command.main(args)
    texts = (stream.buffer.getvalue().decode() for stream in (out, err))
    return subprocess.CompletedProcess(args, code, *texts)


def command_line(*args: str, cwd: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command line in a process of its own."""
    return python("from provisioner.cli.main import run; run()", *args, cwd=cwd, **environ)


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    keep_hooks(monkeypatch)


def keep_hooks(patch: pytest.MonkeyPatch) -> None:
    """Let main() run inside the test without leaving its hooks behind."""
    patch.setattr(sys, "excepthook", sys.excepthook)
    patch.setattr(signal, "signal", lambda *_: None)


def python(code: str, *args: str, cwd: Path = ROOT, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a few lines in a process of their own."""
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, timeout=60, cwd=cwd,
                          env={**os.environ, "PYTHONPATH": str(ROOT), "KUBEWRIGHT_INVENTORY": "", **environ})


def start(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, cwd=ROOT)


def add_verb(monkeypatch: pytest.MonkeyPatch, name: str, body: object) -> None:
    """Put a verb of the test's own into the table."""
    function = click.command(name)(click.pass_obj(body))  # type: ignore[arg-type]
    module = type(sys)("kubewright_test_verb")
    module.verb = function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kubewright_test_verb", module)
    module.__spec__ = click.__spec__
    monkeypatch.setitem(SECTIONS, "Test", (Verb(name, "kubewright_test_verb:verb", "A verb of the test."),))


@pytest.mark.parametrize("args", [["--nonsense"], ["validate", "--nonsense"], ["validate", "extra"], ["aplly"], [],
                                  ["-o", "xml", "validate"], ["completion"], ["completion", "tcsh"], ["-i"]])
def test_a_usage_error_is_64_on_stderr_with_a_hint(args: list[str]) -> None:
    done = run(*args)
    assert done.returncode == 64
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "hint: kubewright" in done.stderr


def test_help_needs_no_inventory_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = ("import sys; from provisioner.cli.main import main; code = main(['--help']); "
            "print(sorted(set(sys.argv[1:]) & set(sys.modules)), file=sys.stderr); sys.exit(code)")
    done = python(code, *HEAVY, cwd=tmp_path)
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
    assert "validate" in done.stdout


def test_help_of_every_verb_needs_no_inventory_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = ("import sys; from provisioner.cli.main import main; from provisioner.cli.verbs import existing_verbs\n"
            "codes = {main([name, '--help']) for name in existing_verbs()}\n"
            "print(codes, sorted(set(sys.argv[1:]) & set(sys.modules)), file=sys.stderr)")
    done = python(code, *HEAVY, cwd=tmp_path)
    assert done.stderr.strip() == "{0} []"


def test_a_verb_whose_module_does_not_exist_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SECTIONS, "Later", (Verb("levitate", "provisioner.cli.levitate:levitate", "Rise."),))
    ctx = click.Context(command.cli)
    assert "levitate" not in command.cli.list_commands(ctx)
    assert command.cli.get_command(ctx, "levitate") is None
    assert "levitate" not in command.cli.get_help(ctx)


def test_every_name_of_another_tool_leads_to_a_verb_and_is_none_itself() -> None:
    assert not set(ALIASES) & set(VERB_NAMES)
    later = {"reset"}
    assert all(name in {*VERB_NAMES, *later} for names in ALIASES.values() for name in names)


@pytest.mark.parametrize(("word", "meant"), [
    ("apply", "up"), ("install", "up"), ("create", "up"), ("destroy", "reset"), ("delete", "reset"), ("diff", "plan"),
    ("APPLY", "up"), ("valdate", "validate"), ("kubconfig", "kubeconfig"), ("statsu", "status"), ("xyzzy", ""),
    ("", "")])
def test_an_unknown_verb_suggests_what_was_meant(word: str, meant: str) -> None:
    assert suggest(word, [*VERB_NAMES, "reset"]) == meant


def test_a_verb_that_has_not_come_yet_is_never_suggested() -> None:
    assert suggest("destroy", ["validate", "up"]) == ""


def test_the_suggestion_reaches_the_screen() -> None:
    done = command_line("valdate")
    assert done.returncode == 64
    assert done.stderr == ("error: there is no verb `valdate`; did you mean `validate`?\n"
                           "hint: kubewright validate --help\n")


def test_a_verb_that_people_look_for_and_there_is_not_yet_is_told_so() -> None:
    done = command_line("operators")
    assert done.returncode == 64
    assert done.stderr.startswith("error: there is no verb `operators` yet; ")
    assert not NOT_YET.keys() & existing_verbs().keys()


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("words", [(), ("up",), ("certs", "check"), ("lab", "fault", "kill"), ("plan", "show")])
def test_help_as_a_verb_says_what_the_option_does(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["help", *words]) == 0
    by_verb = capsys.readouterr().out
    assert command.main([*words, "--help"]) == 0
    assert by_verb == capsys.readouterr().out


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("words", [("valdate",), ("certs", "chekc"), ("up", "down")])
def test_help_of_what_there_is_not_is_a_usage_fault(words: tuple[str, ...]) -> None:
    assert command.main(["help", *words]) == 64


def test_the_phases_that_a_run_can_begin_at_are_in_the_help_of_up_and_are_those_of_up() -> None:
    assert tuple(phase.name for phase in UP) == PHASES
    help_text = " ".join(command_line("up", "--help").stdout.split())
    assert ", ".join(BEGINNINGS) in help_text


def test_validate_says_in_one_line_what_the_inventory_is(tmp_path: Path) -> None:
    done = run("-i", str(copy(tmp_path)), "validate")
    assert done.returncode == 0
    assert done.stdout == ("Cluster example is valid: Kubernetes 1.36.3, 4 hosts (3 control-plane, 3 etcd, "
                           "3 load-balancer, 1 worker), API 10.20.0.10:8443\n")


def test_common_options_may_stand_before_or_behind_the_verb() -> None:
    before = run("-i", "inventories/vagrant", "-o", "json", "validate")
    behind = run("validate", "-i", "inventories/vagrant", "-o", "json")
    assert before.stdout == behind.stdout
    assert json.loads(before.stdout)["schema_version"] == 1
    assert json.loads(before.stdout)["valid"] is True


def test_validate_refuses_with_every_fault_on_stderr_and_10(tmp_path: Path) -> None:
    faulty = (ROOT / "tests/invalid/all-faults-at-once.yaml").read_text(encoding="utf-8")
    (tmp_path / "cluster.yaml").write_text(faulty, encoding="utf-8")
    done = command_line("-i", ".", "validate", cwd=tmp_path)
    assert done.returncode == 10
    assert done.stdout == ""
    assert done.stderr == (ROOT / "tests/invalid/all-faults-at-once.expected").read_text(encoding="utf-8")


def test_validate_gives_faults_to_a_program_as_values(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("version: 1\nclustr: x\n", encoding="utf-8")
    done = run("-i", str(tmp_path), "-o", "json", "validate")
    document = json.loads(done.stdout)
    assert (done.returncode, document["valid"]) == (10, False)
    fault = {"line": 2, "column": 1, "path": "clustr", "message": "unknown key; did you mean `cluster`?"}
    assert fault in document["faults"]


def test_the_example_s_keys_are_refused_for_nobody_could_ever_read_the_secrets() -> None:
    done = run("-i", "inventories/example", "validate")
    assert done.returncode == 10
    faults = [line for line in done.stderr.splitlines() if "a key of the example, and nobody has its" in line]
    assert [re.sub(r".*?(operators\[\d\]).*", r"\1", line) for line in faults] == ["operators[0]", "operators[1]"]
    assert "your own ~/.ssh/id_ed25519.pub" in faults[0]


def test_the_environment_names_the_inventory() -> None:
    assert run("validate", KUBEWRIGHT_INVENTORY="inventories/vagrant").returncode == 0


def test_version_is_readable_by_people_and_programs() -> None:
    assert run("version").stdout.startswith("kubewright ")
    document = json.loads(run("version", "-o", "json").stdout)
    assert {"schema_version", "kubewright", "python", "kubernetes"} <= set(document)


@pytest.mark.parametrize(("words", "same"), [
    (["--version"], ["version"]), (["-o", "json", "--version"], ["version", "-o", "json"]),
    (["--version", "-o", "json"], ["version", "-o", "json"])])
def test_the_option_version_prints_what_the_verb_prints(words: list[str], same: list[str]) -> None:
    asked, verb = run(*words), run(*same)
    assert (asked.returncode, asked.stdout, asked.stderr) == (0, verb.stdout, "")


@pytest.mark.parametrize("group", ["lab", "runs", "certs", "artifacts"])
def test_help_of_a_group_says_whole_sentences(group: str) -> None:
    said = run(group, "--help", COLUMNS="60").stdout
    assert "\n  Commands" not in said and "Commands:\n" in said
    assert ".." not in said.partition("Commands:")[2]


@pytest.mark.parametrize(("hint", "pasted"), [
    ("kubewright up", "bin/kubewright -i 'my lab' up"),
    ("kubewright plan, then kubewright up --yes",
     "bin/kubewright -i 'my lab' plan, then bin/kubewright -i 'my lab' up --yes"),
    ("reinstalled? `kubewright trust cp1`", "reinstalled? `bin/kubewright -i 'my lab' trust cp1`"),
    ("kubewright -i other lab down", "kubewright -i other lab down"),
    ("bin/kubewright -i 'my lab' up", "bin/kubewright -i 'my lab' up"),
    ("kubewright plan --help", "bin/kubewright plan --help"),
    ("kubewright --help", "bin/kubewright --help"),
    ("kubewright schema", "bin/kubewright schema"),
    ("rm /srv/kubewright/upper", "rm /srv/kubewright/upper")])
def test_a_hint_can_be_pasted_where_we_were_called(
    hint: str, pasted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = tmp_path / "bin" / "kubewright"
    program.parent.mkdir()
    program.touch(mode=0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(sys, "argv", [str(program)])
    assert Context(directory="my lab").pasted(hint) == pasted


def test_commands_in_the_details_of_a_failure_can_be_pasted_too() -> None:
    fault = GateFailed("w1: down", details=["it is kept there: kubewright rollback w1"], hint="kubewright status")
    said = failure_text(fault, Context(directory="lab").pasted)
    assert said == ("error: w1: down\nit is kept there: kubewright -i lab rollback w1\n"
                    "hint: kubewright -i lab status")


def test_an_error_ends_with_the_code_that_documents_it_where_that_says_more_than_the_exit_code() -> None:
    assert failure_text(GateFailed("w1: down", hint="kubewright status", code="prober-blind")).splitlines() == [
        "error: w1: down", "hint: kubewright status", "code: prober-blind"]
    assert "code:" not in failure_text(GateFailed("w1: down"))


def test_every_code_that_an_error_can_have_is_on_the_page_of_errors() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    for code in ("host-busy", "etcd-member-lost", "secret-not-yours", "ssh-auth", "sudo-password", "lock-lost", "api"):
        assert f'<a id="{code}"></a>`{code}` |' in page


def test_what_the_page_of_errors_calls_a_code_is_one() -> None:
    page = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    codes = re.findall(r'<a id="([^"]*)"></a>', page)
    assert codes and [code for code in codes if not re.fullmatch(r"[a-z][a-z0-9-]*", code)] == []


@pytest.mark.parametrize(("written", "seconds"), [("60s", 60), ("60", 60), ("10m", 600), ("1h", 3600), ("1.5s", 1.5)])
@pytest.mark.parametrize("option", ["ready --timeout", "probe --for"])
def test_a_time_is_written_in_one_way_for_every_verb(option: str, written: str, seconds: float) -> None:
    verb, name = option.split()
    taken = command.cli.get_command(click.Context(command.cli), verb)
    kind = next(param.type for param in taken.params if name in param.opts) if taken else None
    assert kind is not None and kind.convert(written, None, None) == seconds


@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("words", [
    "validate", "check", "plan", "up", "drift", "status", "ready", "kubeconfig", "certs check", "logs w1 etcd", "probe",
    "runs list", "runs show", "resume", "retry --host w1", "rollback w1", "unlock", "trust", "lab status",
    "artifacts list", "artifacts verify", "compile --out x"])
def test_an_error_is_json_where_json_was_asked_for(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = command.main(["-o", "json", "-i", "nowhere", *words.split()])
    told = json.loads(capsys.readouterr().out)
    assert told["schema_version"] == 1
    assert (told["error"]["code"], told["error"]["exit_code"]) == ("inventory-missing", code)
    assert "nowhere" in told["error"]["message"] and told["error"]["hint"].startswith("kubewright")


def test_a_refusal_hints_at_a_command_for_the_inventory_that_was_meant() -> None:
    done = run("-i", "inventories/vagrant", "rollback", "cp9")
    assert done.stderr.endswith("\nhint: kubewright -i inventories/vagrant status\n")


def test_what_is_opened_later_never_stands_in_for_a_closed_standard_stream(tmp_path: Path) -> None:
    code = ("import os, sys; from provisioner.cli.main import main; code = main(['validate', '-i', sys.argv[1]])\n"
            "print('to nobody'); print('to nobody', file=sys.stderr); sys.stdin.read()\n"
            "with open(sys.argv[2], 'w') as file: file.write(f'{code} {file.fileno() > 2}')")
    words = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code, str(copy(tmp_path)),
             str(tmp_path / "said")]
    assert subprocess.run(words, cwd=ROOT, timeout=60, check=False).returncode == 0
    assert (tmp_path / "said").read_text(encoding="utf-8") == "0 True"


def test_schema_prints_what_is_committed() -> None:
    committed = (ROOT / "docs/reference/cluster.schema.json").read_text(encoding="utf-8")
    assert run("schema").stdout == committed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_that_calls_us(shell: str) -> None:
    done = run("completion", shell)
    assert done.returncode == 0
    assert "_KUBEWRIGHT_COMPLETE" in done.stdout


def test_completing_offers_verbs() -> None:
    done = command_line(_KUBEWRIGHT_COMPLETE="bash_complete", COMP_WORDS="kubewright va", COMP_CWORD="1")
    assert done.stdout.split() == ["plain,validate"]


@pytest.mark.parametrize(("line", "offered"), [
    ("logs ", "cp1 cp2 cp3 w1"), ("logs w", "w1"), ("logs cp1 kube-a", "kube-apiserver"),
    ("trust cp1 w", "w1"), ("rollback c", "cp1 cp2 cp3"), ("retry --host w1 --host w", "w1"),
    ("up --without w", "w1"), ("up --from c", "control-plane controllers"), ("up --skip mem", "memory"),
    ("check --skip swa", "swap"), ("up --allow vip", "vip-changed"), ("plan --allow vip", "vip-changed"),
    ("runs show 2026", "20261125-b 20261124-a"), ("resume 20261124", "20261124-a"),
    ("help stat", "status"), ("help certs ", "check"),
    ("artifacts build --component e", "etcd"), ("rollback cp1 --component kubern", "kubernetes")])
def test_a_tab_offers_what_local_files_know(line: str, offered: str, tmp_path: Path) -> None:
    lab = copy(tmp_path)
    (lab / "artifacts.lock").write_bytes((ROOT / "inventories/lab/artifacts.lock").read_bytes())
    for name in ("20261124-a", "20261125-b"):
        (lab / ".kubewright" / "runs" / name).mkdir(parents=True)
        (lab / ".kubewright" / "runs" / name / "events.jsonl").write_text('{"v": 1, "type": "run-start", "t": 1}\n')
    (lab / ".kubewright" / "runs" / "20261126-never-began").mkdir()
    words = ["kubewright", "-i", str(lab), *line.split(" ")]
    done = command_line(_KUBEWRIGHT_COMPLETE="bash_complete", COMP_WORDS=" ".join(words),
                        COMP_CWORD=str(len(words) - 1))
    assert [word.removeprefix("plain,") for word in done.stdout.split()] == offered.split()


@pytest.mark.parametrize("text", [None, "", "hosts: [", "hosts: 5", "- a"])
def test_a_tab_is_silent_where_there_is_nothing_to_read(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "cluster.yaml").write_text(text)
    done = command_line(_KUBEWRIGHT_COMPLETE="bash_complete", COMP_WORDS=f"kubewright -i {tmp_path} logs ",
                        COMP_CWORD="4")
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_a_tab_leaves_directories_to_the_shell() -> None:
    done = command_line(_KUBEWRIGHT_COMPLETE="bash_complete", COMP_WORDS="kubewright -i inv", COMP_CWORD="2")
    assert done.stdout.split() == ["dir,inv"]


@pytest.mark.parametrize(("word", "code"), [("version", 0), ("aplly", 64)])
def test_the_program_is_over_once_its_work_is_done(word: str, code: int) -> None:
    text = ("import atexit, sys; from provisioner.cli.main import run\n"
            "class Kept:\n    def __del__(self): print('taken apart', file=sys.stderr)\n"
            "kept = Kept(); kept.itself = kept; atexit.register(print, 'registered'); run()")
    done = python(text, word)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (code, "registered")
    assert "taken apart" not in done.stderr


def test_ctrl_c_when_all_is_done_changes_nothing() -> None:
    text = ("import atexit, os, signal, threading, time; from provisioner.cli import main\n"
            "def late():\n"
            "    while threading.main_thread().is_alive(): time.sleep(0.01)\n"
            "    time.sleep(0.1); os.kill(os.getpid(), signal.SIGINT); time.sleep(300)\n"
            "work = main.main; main.main = lambda: (work(), threading.Thread(target=late).start())[0]\n"
            "atexit.register(print, 'registered'); main.run()")
    done = python(text, "version")
    assert (done.returncode, done.stderr, done.stdout.splitlines()[-1]) == (0, "", "registered")


def test_the_reader_may_leave_early() -> None:
    code = "import sys; from provisioner.cli.main import run; sys.argv[1:] = ['schema']; run()"
    with start(code) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 128 + signal.SIGPIPE


@pytest.mark.parametrize("word", ["aplly", "schema"])
def test_the_reader_of_both_streams_may_leave_early(word: str) -> None:
    code = f"import sys; from provisioner.cli.main import run; sys.argv[1:] = ['{word}']; run()"
    read, write = os.pipe()
    os.close(read)
    with subprocess.Popen([sys.executable, "-c", code], stdout=write, stderr=write, cwd=ROOT) as process:
        os.close(write)
        assert process.wait(timeout=60) in (64, 128 + signal.SIGPIPE)


def test_check_marks_are_printed_where_the_locale_is_ascii() -> None:
    code = "from provisioner.cli.main import main; main(['version']); print('\\u2713')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, cwd=ROOT,
                          env={**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert done.stdout.decode("utf-8").endswith("✓\n")


@pytest.mark.usefixtures("in_process")
def test_a_failure_gives_its_own_exit_code_and_text(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(context: Context) -> None:
        raise GateFailed("cp2: starting etcd: not healthy", details=["cp1 is done"], hint="kubewright up")
    add_verb(monkeypatch, "fails", fails)
    assert command.main(["fails"]) == 13
    assert capsys.readouterr().err == "error: cp2: starting etcd: not healthy\ncp1 is done\nhint: kubewright up\n"


@pytest.mark.usefixtures("in_process")
def test_a_verb_may_answer_with_an_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    add_verb(monkeypatch, "answers", lambda context: 2)
    assert command.main(["answers"]) == 2


@pytest.mark.usefixtures("in_process")
def test_a_verb_that_runs_another_program_keeps_all_words_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    add_verb(monkeypatch, "hand-on", lambda context, words: click.echo(f"{words} {context.verbose}"))
    verb = sys.modules["kubewright_test_verb"].verb
    verb.params.append(click.Argument(["words"], nargs=-1, type=click.UNPROCESSED))
    verb.context_settings = {"ignore_unknown_options": True}
    assert command.main(["hand-on", "ls", "-v", "-o", "x"]) == 0
    assert capsys.readouterr().out == "('ls', '-v', '-o', 'x') False\n"


@pytest.mark.parametrize(("inventory", "entered"), [("lab: true", ["shop"]), (f"operators: [{KEY}]", [])])
def test_only_a_lab_has_its_network_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inventory: str, entered: list[str]
) -> None:
    names: list[str] = []
    network = type(sys)("provisioner.lab.network")
    network.enter_namespace = names.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "provisioner.lab.network", network)
    (tmp_path / "cluster.yaml").write_text(
        f'version: 1\ncluster: shop\n{inventory}\nkubernetes: "1.36.3"\nnetwork: {{hosts: [10.20.0.0/24]}}\n'
        "hosts: {cp1: {address: 10.20.0.11, roles: [control-plane]}}\n", encoding="utf-8")
    Context(directory=str(tmp_path)).enter_lab()
    assert names == entered


@pytest.mark.usefixtures("in_process")
def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(context: Context) -> None:
        raise KeyboardInterrupt
    add_verb(monkeypatch, "stopped", stopped)
    assert command.main(["stopped"]) == 130


@pytest.mark.parametrize(("sent", "ignored", "code"), [
    (signal.SIGTERM, False, 130), (signal.SIGHUP, False, 130), (signal.SIGHUP, True, 0)], ids=["term", "hup", "nohup"])
def test_a_polite_end_is_taken_as_ctrl_c_unless_it_is_ignored(sent: signal.Signals, ignored: bool, code: int) -> None:
    program = (f"import signal; signal.signal(signal.SIGHUP, signal.{'SIG_IGN' if ignored else 'SIG_DFL'})\n"
            "import sys, select, click\nfrom provisioner.cli import main as m, verbs\n"
            "waits = lambda _: not select.select([0], [], [], 0.1)[0]\n"   # one just before a wait ends the next
            "verbs.SECTIONS['Test'] = (verbs.Verb('wait', 'slow:wait', ''),)\n"
            "s = type(sys)('slow'); s.__spec__ = click.__spec__; sys.modules['slow'] = s\n"
            "s.wait = click.command()(lambda: print('ready', flush=True) or all(map(waits, range(300))) and 0)\n"
            "sys.exit(m.main(['wait']))")
    with start(program) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(sent)
        if ignored:
            process.stdin.close()       # the verb ends of itself
        assert process.wait(timeout=20) == code


def test_a_terminal_that_is_gone_stops_a_verb_as_ctrl_c_does_and_is_no_bug() -> None:
    program = ("import os, pty, signal, sys, select, click\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
               "from provisioner.cli import main as m, verbs\n"
               "waits = lambda _: not select.select([], [], [], 0.1)[0]\n"    # one just before a wait ends the next
               "verbs.SECTIONS['Test'] = (verbs.Verb('wait', 'slow:wait', ''),)\n"
               "s = type(sys)('slow'); s.__spec__ = click.__spec__; sys.modules['slow'] = s\n"
               "s.wait = click.command()(lambda: print('ready', flush=True) or all(map(waits, range(300))))\n"
               "pid, terminal = pty.fork()\n"
               "if pid == 0: sys.exit(m.main(['wait']))\n"
               "while b'ready' not in os.read(terminal, 100): pass\n"
               "os.close(terminal)\n"
               "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))")
    with start(program) as process:
        assert process.wait(timeout=20) == 130


def bug(tmp_path: Path, *args: str) -> subprocess.CompletedProcess[str]:
    code = ("import sys, click\nfrom provisioner.cli import main as m, verbs\n"
            "verbs.SECTIONS['Test'] = (verbs.Verb('bug', 'ours:bug', ''),)\n"
            "s = type(sys)('ours'); s.__spec__ = click.__spec__; sys.modules['ours'] = s\n"
            "s.bug = click.command()(click.pass_obj(lambda c: (c.directory and c.inventory, 1 / 0)))\n"
            "sys.exit(m.main(sys.argv[1:]))")
    return python(code, *args, "bug", XDG_STATE_HOME=str(tmp_path / "state"))


def test_a_bug_of_ours_is_1_with_its_traceback_in_a_file_and_not_on_the_screen(tmp_path: Path) -> None:
    done = bug(tmp_path)
    assert done.returncode == 1
    assert "this is a bug" in done.stderr
    assert "Traceback" not in done.stderr
    (file,) = (tmp_path / "state" / "kubewright").iterdir()
    assert str(file) in done.stderr
    assert "ZeroDivisionError" in file.read_text(encoding="utf-8")
    assert file.stat().st_mode & 0o077 == 0


def test_a_bug_leaves_its_traceback_beside_the_opened_inventory(tmp_path: Path) -> None:
    copy(tmp_path)
    assert bug(tmp_path, "-i", str(tmp_path)).returncode == 1
    assert len(list((tmp_path / ".kubewright").glob("bug-*.txt"))) == 1


def test_validate_imports_nothing_that_only_ssh_or_a_cluster_needs() -> None:
    code = ("import sys; from provisioner.cli.main import main; code = main(sys.argv[1:4])\n"
            "print(sorted(set(sys.argv[4:]) & set(sys.modules)), file=sys.stderr); sys.exit(code)")
    done = python(code, "-i", "inventories/vagrant", "validate",
                  "ansible", "ansible_runner", "etcd3", "fabric", "grpc", "kubernetes", "paramiko")
    assert (done.returncode, done.stderr.strip()) == (0, "[]")


def test_validate_warns_of_what_is_allowed_and_yet_a_risk(tmp_path: Path) -> None:
    text = (ROOT / "inventories/vagrant/cluster.yaml").read_text(encoding="utf-8")
    for address in ("12", "13"):
        line = f"{address}, roles: [etcd, control-plane"
        text = text.replace(f"{line}, load-balancer", line)
    (tmp_path / "cluster.yaml").write_text(text, encoding="utf-8")
    done = run("-i", str(tmp_path), "validate")
    assert done.returncode == 0
    assert "is valid" in done.stdout
    assert "warning: api.vip: only cp1 can hold 192.168.56.10" in done.stderr
    assert json.loads(run("-i", str(tmp_path), "-o", "json", "validate").stdout)["warnings"][0]["path"] == "api.vip"
