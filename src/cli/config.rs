//! `--config FILE`: flags from a TOML file; and the file with every flag of a run, from which it can be repeated.
//!
//! A key is a flag without its dashes, at the top of the file or in the table named like the flag's section in the help:
//!
//! ```toml
//! [privacy]
//! epsilon = 3
//! clip-norm = 0.1
//! ```
//!
//! What the command line says as well, or what cannot stand beside a flag there, is left to the command line.

use crate::{Error, Place, Result};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The subcommand that has the flag.
const TRAIN: &str = "train";
/// Flags that are about one run of the program and not about what it does.
const OF_THE_COMMAND_LINE: [&str; 6] = ["config", "out", "resume", "format", "help", "version"];
/// Flags that a file may give and a run does not leave: the seed stays secret, and what is shown is nobody's result.
const NOT_LEFT: [&str; 2] = ["seed", "quiet"];

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
    /// Whether the command line says nothing of the flag, and nothing that it conflicts with.
    fn is_free(&self, command: &Command, given: &ArgMatches) -> bool {
        let named = |flag: &Arg| given.value_source(flag.get_id().as_str()) == Some(ValueSource::CommandLine);
        let conflicts = |a: &Arg, b: &Arg| command.get_arg_conflicts_with(a).iter().any(|c| c.get_id() == b.get_id());
        !command.get_arguments().filter(|other| named(other)).any(|other| {
            other.get_id() == self.flag.get_id() || conflicts(self.flag, other) || conflicts(other, self.flag)
        })
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
fn key_of(flag: &Arg) -> Option<&str> {
    flag.get_long().filter(|name| !OF_THE_COMMAND_LINE.contains(name))
}

fn table_of(flag: &Arg) -> String {
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
fn word(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_string()),
        DeValue::Float(number) => Some(number.as_str().to_string()),
        _ => None,
    }
}

/// Every flag of a run that has a value, given or by default.
pub(super) struct Flags(BTreeMap<(String, String), Value>);

enum Value {
    Given,
    One(String),
    Many(Vec<String>),
}

impl Flags {
    /// Of what was parsed.
    pub(super) fn of(cli: &Command, matches: &ArgMatches) -> Self {
        let mut flags = BTreeMap::new();
        let (Some(command), Some((TRAIN, matches))) = (cli.find_subcommand(TRAIN), matches.subcommand()) else {
            return Self(flags);
        };
        for flag in command.get_arguments() {
            let Some(key) = key_of(flag).filter(|key| !NOT_LEFT.contains(key)) else { continue };
            let id = flag.get_id().as_str();
            let value = if flag.get_action().takes_values() {
                let Some(words) = matches.get_raw(id) else { continue };
                let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
                let many = matches!(flag.get_action(), ArgAction::Append) || flag.get_value_delimiter().is_some();
                if many { Value::Many(words) } else { Value::One(words.concat()) }
            } else if matches.get_flag(id) {
                Value::Given
            } else {
                continue;
            };
            flags.insert((table_of(flag), key.to_string()), value);
        }
        Self(flags)
    }

    /// With `key` of `table` as the run found it to be; none takes it away.
    pub(super) fn set(&mut self, table: &str, key: &str, value: Option<String>) {
        let key = (table.to_string(), key.to_string());
        match value {
            Some(value) => self.0.insert(key, Value::One(value)),
            None => self.0.remove(&key),
        };
    }

    /// The file from which the run can be repeated.
    pub(super) fn to_toml(&self) -> String {
        let mut text = String::from(
            "# Every flag of a run of dpsgd train, resolved: `dpsgd train --config` this file repeats it.\n# The seed is not here, as it must stay secret: with --seed the run is repeated to the last bit.\n",
        );
        let mut open = None;
        for ((table, key), value) in &self.0 {
            if open != Some(table) {
                text += &format!("\n[{table}]\n");
                open = Some(table);
            }
            let value = match value {
                Value::Given => "true".to_string(),
                Value::One(word) => literal(word),
                Value::Many(words) => {
                    format!("[{}]", words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", "))
                }
            };
            text += &format!("{key} = {value}\n");
        }
        text
    }
}

/// A decimal number as it is, and text in quotes.
fn literal(word: &str) -> String {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = word.strip_prefix('-').unwrap_or(word);
    let (whole, fraction) = unsigned.split_once('.').map_or((unsigned, None), |(whole, rest)| (whole, Some(rest)));
    let plain = digits(whole) && (whole == "0" || !whole.starts_with('0')) && fraction.is_none_or(digits);
    if plain { word.to_string() } else { quoted(word) }
}

fn quoted(word: &str) -> String {
    let mut text = String::from("\"");
    for letter in word.chars() {
        match letter {
            '"' | '\\' => text.extend(['\\', letter]),
            letter if letter.is_control() => text += &format!("\\U{:08X}", letter as u32),
            letter => text.push(letter),
        }
    }
    text + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read_back_as_they_were() {
        for word in
            ["3", "0.1", "-7", "007", "1e-5", "", "a\"b\\c\n\u{7f}é", "nan", "true", "0.", ".5", "1.0000000000000002"]
        {
            let text = format!("x = {}", literal(word));
            let table = DeTable::parse(&text).unwrap();
            assert_eq!(super::word(table.get_ref()["x"].get_ref()).unwrap(), word, "{text}");
        }
        assert_eq!(
            (literal("0.1"), literal("1e-5"), literal("007")),
            ("0.1".into(), "\"1e-5\"".into(), "\"007\"".into())
        );
    }
}
