//! `--config FILE`: flags from a TOML file.
//!
//! A key is a flag without its dashes, at the top of the file or in the table named like the flag's section in the help:
//!
//! ```toml
//! [privacy]
//! epsilon = 3
//! clip-norm = 0.1
//! ```
//!
//! What the command line says as well, or what cannot stand beside a flag there, is left to the command line. What was spent on
//! the data before is not: a run that drops it would go uncounted.

use crate::{Error, Place, Result};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The subcommand that has the flag.
pub(super) const TRAIN: &str = "train";
/// Flags that are about one run of the program and not about what it does.
const OF_THE_COMMAND_LINE: [&str; 6] = ["config", "out", "resume", "format", "help", "version"];
/// Settings of what was spent before. They yield to their own flag and to a run without privacy; any other conflict is refused.
const COUNTED: [&str; 2] = ["ledger", "extend"];
/// Settings of what is measured for --out, which mean nothing without it.
const FOR_OUT: [&str; 2] = ["symmetry", "evaluations"];

/// What the words of the command line say, with those of the file that `--config` names. As the parser does, it ends the process
/// for help, version and flags that are not understood.
pub(super) fn matches(cli: &Command, mut words: Vec<OsString>) -> Result<ArgMatches> {
    // The file may hold what a flag needs beside it, so nothing is refused before it is read.
    let lenient = cli.clone().mut_subcommand(TRAIN, |train| train.ignore_errors(true)).get_matches_from(&words);
    let command = cli.find_subcommand(TRAIN);
    if let (Some((TRAIN, given)), Some(command)) = (lenient.subcommand(), command)
        && let Some(path) = given.get_one::<PathBuf>("config")
    {
        let settings = read(cli, command, path)?;
        words.extend(settings.into_iter().filter(|setting| setting.is_free(command, given)).flat_map(|s| s.words));
    }
    Ok(cli.clone().get_matches_from(words))
}

/// A flag with a value, as words of a command line.
struct Setting<'a> {
    flag: &'a Arg,
    words: Vec<OsString>,
}

impl Setting<'_> {
    /// Whether the setting holds beside the command line, which wins where both say something.
    fn is_free(&self, command: &Command, given: &ArgMatches) -> bool {
        let named = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);
        let id = self.flag.get_id().as_str();
        if named(id) || (FOR_OUT.contains(&id) && !named("out")) {
            return false;
        }
        if COUNTED.contains(&id) {
            return !named("no_privacy");
        }
        let conflicts = |a: &Arg, b: &Arg| command.get_arg_conflicts_with(a).iter().any(|c| c.get_id() == b.get_id());
        let mut others = command.get_arguments().filter(|other| named(other.get_id().as_str()));
        !others.any(|other| conflicts(self.flag, other) || conflicts(other, self.flag))
    }
}

fn read<'a>(cli: &Command, command: &'a Command, path: &Path) -> Result<Vec<Setting<'a>>> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let place = |at: usize| Place::line(path, 1 + text[..at.min(text.len())].matches('\n').count() as u64);
    let document = DeTable::parse(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        Error::data(place(at), error.message().to_string(), "a TOML file of flags")
    })?;
    let mut settings = Vec::new();
    for (key, value) in document.get_ref() {
        let entries: Vec<_> = match value.get_ref() {
            DeValue::Table(table) => {
                table.iter().map(|(inner, value)| (Some(key.get_ref().as_ref()), inner, value)).collect()
            }
            _ => vec![(None, key, value)],
        };
        for (table, key, value) in entries {
            let at = place(key.span().start);
            let flag = flag(command, table, key.get_ref(), &at)?;
            let words = words(flag, value, &at)?;
            let alone = ["dpsgd", TRAIN].iter().map(OsString::from).chain(words.iter().cloned());
            if let Err(error) = cli.clone().try_get_matches_from(alone) {
                // Flags that it needs or cannot stand beside are looked at together with the others.
                if !matches!(error.kind(), ErrorKind::MissingRequiredArgument | ErrorKind::ArgumentConflict) {
                    let message = error.to_string();
                    let why = message.lines().next().unwrap_or_default().trim_start_matches("error: ").to_string();
                    return Err(Error::data(at, why, format!("a value of --{}", key.get_ref())));
                }
            }
            settings.push(Setting { flag, words });
        }
    }
    Ok(settings)
}

/// The flag that a key in a table, or in none, names.
fn flag<'a>(command: &'a Command, table: Option<&str>, key: &str, place: &Place) -> Result<&'a Arg> {
    let known = || command.get_arguments().filter_map(|flag| Some((flag, key_of(flag)?, table_of(flag))));
    let Some((flag, _, home)) = known().find(|(_, name, _)| *name == key) else {
        let names: Vec<&str> = match table.filter(|table| known().any(|(_, _, home)| home == *table)) {
            Some(table) => known().filter(|(_, _, home)| home == table).map(|(_, name, _)| name).collect(),
            None => known().map(|(_, name, _)| name).collect(),
        };
        return Err(Error::data(place.clone(), format!("the key {key}"), format!("one of {}", names.join(", "))));
    };
    match table {
        Some(table) if table != home => {
            Err(Error::data(place.clone(), format!("{key} in [{table}]"), format!("it in [{home}]")))
        }
        _ => Ok(flag),
    }
}

/// The key of a flag that may stand in a file.
pub(super) fn key_of(flag: &Arg) -> Option<&str> {
    flag.get_long().filter(|name| !OF_THE_COMMAND_LINE.contains(name))
}

pub(super) fn table_of(flag: &Arg) -> String {
    flag.get_help_heading().unwrap_or_default().to_lowercase()
}

fn words(flag: &Arg, value: &Spanned<DeValue<'_>>, place: &Place) -> Result<Vec<OsString>> {
    let name = flag.get_long().unwrap_or_default();
    let refused = |expected: &str| {
        let found = format!("{name} = a value of type {}", value.get_ref().type_str());
        Err(Error::data(place.clone(), found, expected.to_string()))
    };
    if !flag.get_action().takes_values() {
        return match value.get_ref().as_bool() {
            Some(true) => Ok(vec![format!("--{name}").into()]),
            Some(false) => Ok(Vec::new()),
            None => refused("true or false"),
        };
    }
    let with = |word: &str| OsString::from(format!("--{name}={word}"));
    let Some(list) = value.get_ref().as_array() else {
        return word(value.get_ref()).map_or_else(|| refused("text or a number"), |word| Ok(vec![with(&word)]));
    };
    let Some(list) = list.iter().map(|value| word(value.get_ref())).collect::<Option<Vec<String>>>() else {
        return refused("a list of texts and numbers");
    };
    if let Some(delimiter) =
        flag.get_value_delimiter().filter(|&delimiter| list.iter().any(|word| word.contains(delimiter)))
    {
        return refused(&format!(
            "a list without {delimiter:?} in its texts: it stands between them on the command line"
        ));
    }
    match (flag.get_action(), flag.get_value_delimiter()) {
        (_, Some(delimiter)) => Ok(vec![with(&list.join(&delimiter.to_string()))]),
        (ArgAction::Append, None) => Ok(list.iter().map(|word| with(word)).collect()),
        _ => refused("one value"),
    }
}

/// Text as it is, and a decimal number with its digits.
pub(super) fn word(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_string()),
        DeValue::Float(number) => Some(number.as_str().to_string()),
        _ => None,
    }
}
