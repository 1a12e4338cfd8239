"""The class of all commands, which writes their help texts as plain text.

Typer's own plain text cuts summaries, writes arguments as `{NAME}` and their types in Python's
notation.
"""

from typing import TYPE_CHECKING, TypeAlias

from typer.core import TyperArgument, TyperCommand

if TYPE_CHECKING:  # the types of Typer's methods, which Typer exports under no public name
    from typer._click import Context, HelpFormatter

Rows: TypeAlias = list[tuple[str, str]]


class Command(TyperCommand):
    """A command; its epilog holds examples, in which PROGRAM stands for the program's name."""

    def get_short_help_str(self, limit: int = 0) -> str:
        """Returns the whole first paragraph of the help text; the limit is ignored."""
        return " ".join((self.help or "").partition("\n\n")[0].split())

    def collect_usage_pieces(self, ctx: "Context") -> list[str]:
        """Returns the words after the command's name in the usage line."""
        names = [
            _name(argument) if argument.required else f"[{_name(argument)}]"
            for argument in self._arguments()
        ]
        return [self.options_metavar or "", *names]

    def argument_rows(self) -> Rows:
        """Returns the name and the meaning of each argument."""
        return [(_name(argument), argument.help or "") for argument in self._arguments()]

    def option_rows(self, ctx: "Context") -> Rows:
        """Returns each option with its value, and its meaning with the default."""
        options = [param for param in self.get_params(ctx) if not isinstance(param, TyperArgument)]
        return [row for option in options if (row := option.get_help_record(ctx)) is not None]

    def format_options(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Writes the arguments and the options."""
        for heading, rows in (
            ("Arguments", self.argument_rows()),
            ("Options", self.option_rows(ctx)),
        ):
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: "Context", formatter: "HelpFormatter") -> None:
        """Writes the examples with the name under which the user started the program."""
        if self.epilog:
            examples = self.epilog.replace("PROGRAM", ctx.find_root().info_name or "")
            formatter.write(f"\n{examples.strip()}\n")

    def _arguments(self) -> list[TyperArgument]:
        return [param for param in self.params if isinstance(param, TyperArgument)]


def _name(argument: TyperArgument) -> str:
    """Returns an argument's name, with dots if several values can be given."""
    name = argument.metavar or argument.name.upper()
    return name if argument.nargs == 1 else f"{name}..."
