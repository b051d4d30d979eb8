//! `fluss help`.

use std::fmt::Write as _;

use fluss_core::ErrorCode;

use super::failure::{Failure, NAMES, Result};
use super::output::Output;
use super::settings;
use super::spec::{COMMANDS, CommandSpec, GLOBAL, OptionSpec, command};

/// Prints help about a command, `errors`, `settings`, `values`, or everything.
pub(crate) fn print(topic: Option<&str>) -> Result<()> {
    let text = text(topic)?;
    let mut out = Output::new();
    text.lines().try_for_each(|line| out.line(line))?;
    out.flush()
}

pub(crate) fn version() -> Result<()> {
    let mut out = Output::new();
    out.line(concat!("fluss ", env!("CARGO_PKG_VERSION")))?;
    out.flush()
}

fn text(topic: Option<&str>) -> Result<String> {
    match topic {
        None => Ok(overview()),
        Some("errors") => Ok(errors()),
        Some("settings") => Ok(known_settings()),
        Some("values") => Ok(VALUES.to_owned()),
        Some(name) => match command(name) {
            Some(command) => Ok(about(command)),
            None => Err(Failure::usage(format!("there is no help about `{name}`"))),
        },
    }
}

/// What values look like, and what else is taken as input.
const VALUES: &str = "\
Values as JSON, the same in rows that come in and in rows that go out:

  null                  null; a missing field is null
  BOOLEAN               true, false
  TINYINT to BIGINT     a number, all digits exact; 1.0 and 1e3 are refused
  FLOAT, DOUBLE         the shortest number that reads back the same, with a point or an exponent:
                        1.0, 0.1, 5e-5, 1e16, -0.0; any number is taken and rounded once, one
                        beyond the range is refused; \"NaN\", \"Infinity\", \"-Infinity\"
  DECIMAL(p,s)          a string with exactly s digits after the point, \"-12.30\"; a number and
                        fewer digits are taken, digits that would be lost are refused
  CHAR, STRING          a string
  BINARY, BYTES         a string in base64, standard alphabet, padded
  DATE                  \"2026-11-20\"; years beyond 0001 to 9999 with a sign: \"+12345-01-31\"
  TIME(p)               \"10:00:00\", \"10:00:00.5\"
  TIMESTAMP(p)          \"2026-11-20T10:00:00\", \"2026-11-20T10:00:00.5\"; no zone
  TIMESTAMP_LTZ(p)      the same in UTC with Z, \"2026-11-20T10:00:00Z\"; no other zone
  ARRAY, MAP, ROW       an array, an array of [key, value] pairs, an object

A fraction of a second has no zeros at its end, and none at all if it is zero; zeros are taken. One
finer than the column's p is refused. A field named twice, and one that is no column, is refused.
";

fn overview() -> String {
    let mut out = String::from(
        "fluss: a command line for Apache Fluss\n\nUsage: fluss COMMAND [ARGUMENTS] [OPTIONS]\n\n\
         Commands:\n",
    );
    // Writing to a String cannot fail.
    for command in COMMANDS {
        let _ = writeln!(out, "  {:18} {}", command.name, command.about);
    }
    out.push_str("\nOptions of all commands:\n");
    GLOBAL.iter().for_each(|option| push_option(&mut out, option));
    out.push_str(
        "\nData goes to standard output, one JSON object a line; everything else to standard \
         error.\nExit codes: 0 done, 1 the work failed or part of it did, 2 wrong usage, \
         130 interrupted.\nA first interrupt ends a command cleanly, which takes the \
         writer's delivery timeout at most; a second ends it at once.\n`fluss help COMMAND`, \
         `fluss help errors`, `fluss help settings` and `fluss help values` tell more.\n",
    );
    out
}

fn about(command: &CommandSpec) -> String {
    let mut out = format!("fluss {}", command.name);
    for argument in command.arguments {
        let _ = write!(out, " {argument}");
    }
    let _ = writeln!(out, " [OPTIONS]: {}", command.about);
    if !command.options.is_empty() {
        out.push_str("\nOptions:\n");
        command.options.iter().for_each(|option| push_option(&mut out, option));
    }
    out.push_str("\nOptions of all commands:\n");
    GLOBAL.iter().for_each(|option| push_option(&mut out, option));
    out
}

fn push_option(out: &mut String, option: &OptionSpec) {
    if option.about.is_empty() {
        return;
    }
    let short = option.short.map(|letter| format!("-{letter}, ")).unwrap_or_default();
    let value = option.value.map(|value| format!(" {value}")).unwrap_or_default();
    let many = if option.many { " (repeatable)" } else { "" };
    let name = format!("{short}--{}{value}", option.long);
    let _ = writeln!(out, "  {name:32} {}{many}", option.about);
}

fn errors() -> String {
    let mut out = String::from("Errors that no server made; their code is null:\n\n");
    for (name, meaning) in NAMES {
        let _ = writeln!(out, "  {name:20} {meaning}");
    }
    out.push_str("\nErrors of servers, by their code:\n\n");
    for info in ErrorCode::TABLE {
        let _ = writeln!(out, "  {:3}  {:48} {}", info.code.0, info.name, info.meaning);
    }
    out
}

fn known_settings() -> String {
    let mut out = String::from("Settings with an effect:\n\n");
    for (key, _) in settings::known().filter(|(_, note)| note.is_none()) {
        let _ = writeln!(out, "  {key}");
    }
    out.push_str("\nSettings of the Java client that are accepted and have none:\n\n");
    for (key, note) in settings::known() {
        if let Some(note) = note {
            let _ = writeln!(out, "  {key}: {note}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_every_name_of_an_error_is_explained() {
        let all = overview();
        for command in COMMANDS {
            assert!(all.contains(command.about), "{}", command.name);
            let text = about(command);
            for option in command.options {
                // An option without a description is for tests alone and stays unmentioned.
                let told = text.contains(&format!("--{}", option.long));
                assert_eq!(told, !option.about.is_empty(), "{}", option.long);
            }
        }
        let errors = errors();
        assert!(errors.contains("AUTHORIZATION_EXCEPTION"));
        assert!(NAMES.iter().all(|(name, _)| errors.contains(name)));
        assert!(known_settings().contains("client.writer.batch-timeout"));
        assert!(text(Some("values")).is_ok_and(|text| text.contains("TIMESTAMP_LTZ(p)")));
        assert!(matches!(text(Some("nonsense")), Err(Failure::Usage(_))));
    }
}
