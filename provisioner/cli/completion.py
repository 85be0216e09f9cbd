"""`completion`: the script that makes a shell complete our verbs and options."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL on stdout; completing reads local files only.

    \b
    bash:  kubewright completion bash > ~/.local/share/bash-completion/completions/kubewright
    zsh:   kubewright completion zsh > _kubewright, in a directory of $fpath
    fish:  kubewright completion fish > ~/.config/fish/completions/kubewright.fish
    """
    from click.shell_completion import get_completion_class

    from provisioner.cli.main import COMPLETE_VAR, PROG, cli

    kind = get_completion_class(shell)
    if kind is not None:
        click.echo(kind(cli, {}, PROG, COMPLETE_VAR).source())
