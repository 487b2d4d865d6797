//! The reference of the command line, made from the arguments' own descriptions. `docs/cli.md` is generated from here.

use clap::{Command, CommandFactory as _};

use super::{COULD_NOT_TELL, Cli, FAILED, INVALID, USAGE};

/// How wide a help is: as on a wide terminal, wherever it is made.
const WIDTH: usize = 100;

/// Renders the whole reference as Markdown: the rules for all verbs, then the help of each.
pub fn reference() -> String {
    let verbs: Vec<Command> = verbs();
    let rows = verbs.iter().map(|verb| format!("| [`{0}`](#exitpool-{0}) | {1} |\n", verb.get_name(), about(verb)));
    let rows: String = rows.collect();
    let sections: String = verbs.into_iter().map(section).collect();
    format!("{HEAD}\n{}\n## The verbs\n\n| verb | what it does |\n|---|---|\n{rows}{sections}", exit_codes())
}

/// Renders the long help of one verb as it is printed, without the environment of this process.
pub fn help(verb: &str) -> Option<String> {
    verbs().into_iter().find(|command| command.get_name() == verb).map(text)
}

/// The program with its verbs, as manual pages are made of it: without the environment of this process.
pub fn program() -> Command {
    Cli::command().disable_help_subcommand(true).mut_subcommands(|verb| verb.mut_args(|it| it.hide_env_values(true)))
}

/// Names the verbs that are shown.
pub fn names() -> Vec<String> {
    verbs().iter().map(|verb| verb.get_name().to_owned()).collect()
}

const HEAD: &str = "# The command line

Generated from the code: do not edit. `exitpool help VERB` says the same.

Data goes to standard output, talk to standard error. Every verb that prints data takes `-o json`. An option that names
an environment variable takes its value from there; the option itself wins, and the default comes last.
";

fn exit_codes() -> String {
    format!(
        "## Exit codes

| code | meaning |
|---|---|
| 0 | done |
| {FAILED} | failed |
| {USAGE} | the command line is wrong |
| {INVALID} | the desired state is invalid |

`diff` and `drift` compare, and say so as `diff` does: 0 for none, 1 for some, {COULD_NOT_TELL} when it cannot be told. With
`--detailed-exitcode`, `plan` says 0 for no changes, 1 for an error, 2 for changes.
"
    )
}

fn verbs() -> Vec<Command> {
    let mut program = Cli::command().term_width(WIDTH);
    program.build();
    let shown = program.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help");
    shown.cloned().map(|verb| verb.mut_args(|argument| argument.hide_env_values(true))).collect()
}

fn about(verb: &Command) -> String {
    verb.get_about().map(ToString::to_string).unwrap_or_default()
}

fn section(verb: Command) -> String {
    let name = verb.get_name().to_owned();
    format!("\n### exitpool {name}\n\n```text\n{}```\n", text(verb))
}

/// A help without colours, and without blanks at the ends of its lines; behind it those of the verb's own verbs.
fn text(mut verb: Command) -> String {
    let help = verb.render_long_help().to_string();
    let help: String = help.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    let inner = verb.get_subcommands().filter(|inner| inner.get_name() != "help").cloned();
    let inner: String = inner.map(|inner| format!("\n\n$ {}\n\n{}", called(&inner), text(inner))).collect();
    help + &inner
}

/// How a verb within another one is called.
fn called(verb: &Command) -> String {
    format!("{} --help", verb.get_bin_name().unwrap_or_else(|| verb.get_name()))
}
