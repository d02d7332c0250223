"""The command line: a table of commands, each imported only when it is called."""

import contextlib
import importlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

import click

from transfuse.core.errors import TransfuseError, UsageError
from transfuse.core.tables import unknown

COMMANDS = {
    "fit": ("transfuse.cli.fit:command", "The best model for your labelled examples, within a budget, with proof."),
    "rank": ("transfuse.cli.rank:command", "Which of these sources to start from, for your labelled examples."),
    "transfer": ("transfuse.cli.transfer:command", "Adapt exactly this source in exactly this way."),
    "fuse": ("transfuse.cli.fuse:command", "Several models into one: their weights, or their predictions."),
    "distill": ("transfuse.cli.distill:command", "A small student that answers as a large teacher does, with proof."),
    "reshape": ("transfuse.cli.reshape:command", "A saved model wider, deeper, smaller, or for other classes."),
    "split": ("transfuse.cli.split:command", "A saved model parted into one for each group of classes."),
    "join": ("transfuse.cli.join:command", "Models for different classes into one."),
    "shrink": ("transfuse.cli.shrink:command", "A saved model in several smaller sizes, with proof and pictures."),
    "verify": ("transfuse.cli.verify:command", "Whether a model, a fusion's parents or a report are as written."),
    "backup": ("transfuse.cli.backup:command", "A verified copy of a model, a checkpoint or a run somewhere else."),
    "restore": ("transfuse.cli.restore:command", "What was backed up, back again, every byte compared."),
    "update": ("transfuse.cli.update:command", "More examples into a saved probe, at once and exactly."),
    "forget": ("transfuse.cli.forget:command", "Examples out of a saved probe, as if it had never learnt them."),
    "evaluate": ("transfuse.cli.evaluate:command", "Measure a saved model on labelled examples."),
    "scan": ("transfuse.cli.scan:command", "May I open this file that a stranger sent me?"),
    "convert": ("transfuse.cli.convert:command", "Weights of another format as safetensors, proven the same."),
    "check": ("transfuse.cli.check:command", "What is wrong with labelled data: copies, wrong labels, splits."),
    "compare": ("transfuse.cli.compare:command", "Two saved models on the same examples, by paired difference."),
    "perplexity": ("transfuse.cli.perplexity:command", "How well a language model foretells texts."),
    "guard": ("transfuse.cli.guard:command", "Teach a saved model to tell inputs unlike those it learnt from."),
    "predict": ("transfuse.cli.predict:command", "Answers for pictures, texts or rows."),
    "methods": ("transfuse.cli.methods:command", "The methods of transfer and their options."),
    "cache": ("transfuse.cli.cache:command", "What is cached, how large it is; clear it."),
    "demo": ("transfuse.cli.demo:command", "The main job on handwritten digits that come with scikit-learn."),
}


class LazyGroup(click.Group):
    """Commands from the table above; `--help` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; raises a usage error with the nearest name."""
        if cmd_name not in COMMANDS:
            raise click.UsageError(str(unknown("command", cmd_name, COMMANDS)))
        module, attribute = COMMANDS[cmd_name][0].split(":")
        return getattr(importlib.import_module(module), attribute)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="transfuse")
def transfuse() -> None:
    """Move what trained models know into the model you need, with proof."""


def main(arguments: list[str] | None = None) -> Any:
    """Run the command line; errors of the user's making are one message, never a traceback.

    Ctrl-C and SIGTERM stop the work cleanly; the exit code is then 130 or 143, also when the best so far was kept.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    with _stoppable() as heard:
        try:
            result = transfuse.main(arguments, prog_name="transfuse", standalone_mode=False, obj=tuple(arguments))
        except (click.exceptions.Abort, KeyboardInterrupt):
            code = 128 + (heard or [signal.SIGINT])[0]
            _end("Stopped. Nothing was left half-written; the same command takes up where it stopped.", code)
        except click.exceptions.Exit as ending:
            sys.exit(ending.exit_code)
        except click.ClickException as error:
            error.show()
            sys.exit(error.exit_code)
        except UsageError as error:
            _end(f"Error: {error}", 2)
        except TransfuseError as error:
            _end(f"Error: {error}", 1)
        if heard:
            sys.exit(128 + heard[0])
        return result


@contextlib.contextmanager
def _stoppable() -> Iterator[list[int]]:
    """SIGTERM raises `KeyboardInterrupt` as Ctrl-C does; the signals that came, in their order."""
    heard: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        raise KeyboardInterrupt

    before = {}
    if threading.current_thread() is threading.main_thread():
        ours = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
        # One that the parent ignores (a job in the background) or has a handler of its own for stays as it is.
        before = {number: default for number, default in ours.items() if signal.getsignal(number) == default}
    for number in before:
        signal.signal(number, stop)
    try:
        yield heard
    finally:
        for number, default in before.items():
            signal.signal(number, default)


def _end(message: str, code: int) -> None:
    click.echo(message, err=True)
    sys.exit(code)
