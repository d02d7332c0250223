"""transfuse perplexity: how well a language model foretells texts."""

import click

from transfuse.cli import shared


@click.command("perplexity")
@click.argument("source")
@click.argument("data", type=click.Path())
@click.option("--max-length", type=int, help="Tokens of a text that are read, instead of what the source says.")
@click.option("--seed", type=int, default=0, help="Of the bootstrap.")
@click.option("--trust-code", is_flag=True, help="Run code that comes with the source.")
@shared.as_format
def command(
    source: str, data: str, max_length: int | None, seed: int, trust_code: bool, form: str, quiet: bool
) -> None:
    """Perplexity and bits a byte of the language model SOURCE on DATA: a .txt file with a text a line, or a table."""
    with shared.running(quiet=quiet) as run:
        from transfuse.evaluating.language import perplexity
        from transfuse.sources.references import find

        found = find(source, trust_code=trust_code, max_length=max_length)
        report = perplexity(found, data, seed=seed, run=run)
    shared.show_report(report, form)
