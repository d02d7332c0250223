"""transfuse convert: weights of another format as safetensors."""

import click

from transfuse.cli import shared


@click.command("convert")
@click.argument("path", type=click.Path())
@click.argument("out", type=click.Path())
@click.option("--seconds", type=click.IntRange(1), default=600, show_default=True, help="Of reading, at most.")
@click.option("--memory", type=click.FloatRange(0.5), default=16.0, show_default=True, help="GiB at most.")
@shared.as_format
def command(path: str, out: str, seconds: int, memory: float, form: str, quiet: bool) -> None:
    """Write the weights in PATH as safetensors to OUT; every tensor is proven to be the same by its digest.

    PATH may be a torch file (also one that holds a whole module), NumPy's, Keras', ONNX or GGUF. It is judged first and
    nothing in it is run.
    """
    from transfuse.weights.converting import convert

    shared.show_report(convert(path, out, memory=int(memory * 2**30), seconds=seconds), form)
