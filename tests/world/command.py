"""Runs the command `openai-proxy` in this process, for tests of what it prints."""

from openai_proxy.command import main


def run(capsys, *arguments):
    """Return status, standard output and standard error."""
    try:
        status = main(arguments)
    except SystemExit as stopped:
        status = stopped.code
    shown = capsys.readouterr()
    return status, shown.out, shown.err
