//! The command line, read by the table of commands.

use std::collections::BTreeMap;
use std::ffi::OsString;

use lexopt::{Arg, Parser, ValueExt as _};

use super::failure::{Failure, Result};
use super::nearest::nearest;
use super::spec::{COMMANDS, CommandSpec, GLOBAL, OptionSpec, command};

/// What was said.
#[derive(Debug)]
pub(crate) struct Args {
    pub(crate) command: &'static CommandSpec,
    positionals: Vec<String>,
    options: BTreeMap<&'static str, Vec<String>>,
}

/// A command to run, or a text to print.
#[derive(Debug)]
pub(crate) enum Parsed {
    Run(Args),
    /// Help about a topic, or about everything.
    Help(Option<String>),
    Version,
}

/// Reads the arguments that follow the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Parsed> {
    let mut parser = Parser::from_args(arguments);
    let mut command_spec: Option<&'static CommandSpec> = None;
    let mut positionals = Vec::new();
    let mut options = BTreeMap::new();
    while let Some(argument) = parser.next()? {
        match argument {
            Arg::Value(word) => {
                let word = word.string()?;
                match command_spec {
                    None => command_spec = Some(find_command(&word)?),
                    Some(_) => positionals.push(word),
                }
            }
            Arg::Long("version") if command_spec.is_none() => return Ok(Parsed::Version),
            Arg::Long(name) => {
                let spec = find_option(name, command_spec)?;
                take_option(&mut parser, spec, &mut options)?;
            }
            Arg::Short(letter) => {
                let found = GLOBAL.iter().find(|option| option.short == Some(letter));
                let spec = found
                    .ok_or_else(|| Failure::usage(format!("the option -{letter} is unknown")))?;
                take_option(&mut parser, spec, &mut options)?;
            }
        }
    }
    let asks_help = options.contains_key("help");
    let Some(command) = command_spec else {
        return match asks_help {
            true => Ok(Parsed::Help(None)),
            false => Err(Failure::usage("no command given")),
        };
    };
    if command.name == "help" {
        return Ok(Parsed::Help(positionals.into_iter().next()));
    }
    if asks_help {
        return Ok(Parsed::Help(Some(command.name.to_owned())));
    }
    check_positionals(command, &positionals)?;
    Ok(Parsed::Run(Args { command, positionals, options }))
}

fn find_command(word: &str) -> Result<&'static CommandSpec> {
    command(word).ok_or_else(|| {
        let names = COMMANDS.iter().map(|command| command.name);
        let hint = nearest(word, names)
            .map_or_else(String::new, |found| format!("; did you mean `{found}`?"));
        Failure::usage(format!("the command `{word}` is unknown{hint}"))
    })
}

fn find_option(name: &str, command: Option<&'static CommandSpec>) -> Result<&'static OptionSpec> {
    let own = command.map_or(&[][..], |command| command.options);
    let mut known = own.iter().chain(GLOBAL);
    known.clone().find(|option| option.long == name).ok_or_else(|| {
        let shown = known.by_ref().filter(|option| !option.about.is_empty());
        let known = shown.map(|option| option.long);
        let hint = nearest(name, known)
            .map_or_else(String::new, |found| format!("; did you mean --{found}?"));
        let place = match command {
            Some(command) => format!(" to `fluss {}`", command.name),
            None => " before the command".to_owned(),
        };
        Failure::usage(format!("the option --{name} is unknown{place}{hint}"))
    })
}

fn take_option(
    parser: &mut Parser,
    spec: &'static OptionSpec,
    options: &mut BTreeMap<&'static str, Vec<String>>,
) -> Result<()> {
    let values = options.entry(spec.long).or_default();
    if spec.value.is_some() {
        if !values.is_empty() && !spec.many {
            return Err(Failure::usage(format!("the option --{} is given twice", spec.long)));
        }
        values.push(parser.value()?.string()?);
    }
    Ok(())
}

fn check_positionals(command: &CommandSpec, given: &[String]) -> Result<()> {
    if let Some(missing) = command.arguments.get(given.len()) {
        let name = command.name;
        return Err(Failure::usage(format!("`fluss {name}` wants {missing} as an argument")));
    }
    match given.get(command.arguments.len()) {
        None => Ok(()),
        Some(extra) => {
            let name = command.name;
            Err(Failure::usage(format!("`fluss {name}` cannot do anything with `{extra}`")))
        }
    }
}

impl Args {
    /// A positional argument; all that the command wants are there.
    pub(crate) fn argument(&self, index: usize) -> &str {
        self.positionals.get(index).map_or("", String::as_str)
    }

    /// The first argument, a `DB.TABLE`.
    pub(crate) fn table(&self) -> Result<&str> {
        self.table_at(0)
    }

    /// The argument at this place, a `DB.TABLE`.
    pub(crate) fn table_at(&self, index: usize) -> Result<&str> {
        let path = self.argument(index);
        match fluss_core::ids::TablePath::parse(path) {
            Some(_) => Ok(path),
            None => Err(Failure::usage(format!("`{path}` is no table: write it as DB.TABLE"))),
        }
    }

    /// Whether a switch is set.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.options.contains_key(name)
    }

    /// The value of an option.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).first().map(String::as_str)
    }

    /// All values of an option that may be repeated.
    pub(crate) fn values(&self, name: &str) -> &[String] {
        self.options.get(name).map_or(&[], Vec::as_slice)
    }

    /// A number; an error that names the option for anything else.
    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>> {
        self.value(name)
            .map(|text| {
                text.parse().map_err(|_| {
                    Failure::usage(format!(
                        "--{name} wants a number within its range, not `{text}`"
                    ))
                })
            })
            .transpose()
    }

    /// A number that is not zero.
    pub(crate) fn positive(&self, name: &str) -> Result<Option<u64>> {
        match self.number(name)? {
            Some(0) => Err(Failure::usage(format!("--{name} must be at least 1"))),
            number => Ok(number),
        }
    }

    /// Names separated by commas.
    pub(crate) fn list(&self, name: &str) -> Result<Option<Vec<String>>> {
        let Some(text) = self.value(name) else { return Ok(None) };
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) {
            let text = format!("--{name} wants names with commas between them, not `{text}`");
            return Err(Failure::usage(text));
        }
        Ok(Some(names))
    }
}

/// `k=v/k=v` as pairs.
pub(crate) fn partition_pairs(text: &str) -> Result<Vec<(String, String)>> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in text.split('/') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let wrong = match (key, value) {
            ("", _) => format!("`{pair}` names no column"),
            (_, "") => format!("column `{key}` has no value"),
            _ if pairs.iter().any(|(other, _)| other == key) => format!("`{key}` is there twice"),
            _ => {
                pairs.push((key.to_owned(), value.to_owned()));
                continue;
            }
        };
        let advice = "write it as k=v or k=v/k=v, with a value for each partition column";
        return Err(Failure::usage(format!("`{text}` is no partition, as {wrong}: {advice}")));
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Parsed> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn run(line: &str) -> Args {
        match words(line) {
            Ok(Parsed::Run(args)) => args,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refused(line: &str) -> String {
        match words(line) {
            Err(failure @ Failure::Usage(_)) => failure.to_string(),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn options_may_stand_before_and_behind_the_command() {
        let args = run("-b a:1 consume shop.events -c x=1 --count 5 --columns a,b --config=y=2");
        assert_eq!(args.command.name, "consume");
        assert_eq!(args.table().expect("a path"), "shop.events");
        assert_eq!(args.value("bootstrap"), Some("a:1"));
        assert_eq!(args.values("config"), ["x=1", "y=2"]);
        assert_eq!(args.number::<u64>("count").expect("a number"), Some(5));
        assert_eq!(args.list("columns").expect("names").unwrap_or_default(), ["a", "b"]);
        assert!(!args.has("follow"));
    }

    #[test]
    fn wrong_usage_says_what_was_meant() {
        assert!(refused("produse a.b").contains("`produce`"));
        assert!(refused("produce a.b --dead-leter x").contains("--dead-letter"));
        assert!(refused("produce").contains("DB.TABLE"));
        assert!(refused("ping now").contains("`now`"));
        assert!(refused("offsets a.b --at 1 --at 2").contains("twice"));
        assert!(refused("--follow consume a.b").contains("before the command"));
        assert!(refused("").contains("no command"));
        assert!(refused("ping -x").contains("-x"));
        let args = run("consume nodot --count x --columns a,,b");
        assert!(args.table().is_err());
        assert!(args.number::<u64>("count").is_err());
        assert!(args.list("columns").is_err());
    }

    #[test]
    fn help_is_asked_for_in_several_ways() {
        for line in ["help", "--help", "-h"] {
            assert!(matches!(words(line), Ok(Parsed::Help(None))), "{line}");
        }
        for line in ["help produce", "produce --help", "produce a.b -h"] {
            let Ok(Parsed::Help(Some(topic))) = words(line) else { panic!("{line}") };
            assert_eq!(topic, "produce");
        }
        assert!(matches!(words("--version"), Ok(Parsed::Version)));
    }

    #[test]
    fn partitions_are_pairs() {
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        let pairs = partition_pairs("dt=2026-11-20/region=eu").expect("pairs");
        assert_eq!(pairs, [pair("dt", "2026-11-20"), pair("region", "eu")]);
        for (text, part) in [
            ("", "names no column"),
            ("dt", "column `dt` has no value"),
            ("=x", "`=x` names no column"),
            ("dt=", "column `dt` has no value"),
            ("dt=1//r=2", "names no column"),
            ("dt=1/dt=2", "`dt` is there twice"),
        ] {
            let told = partition_pairs(text).expect_err("no partition").to_string();
            assert!(told.contains(part) && told.contains("k=v/k=v"), "{text}: {told}");
        }
    }
}
