//! The flags of a run, as the file that it leaves and from which it can be repeated.

use super::config::{TRAIN, key_of, table_of};
use clap::{ArgAction, ArgMatches, Command};
use std::collections::BTreeMap;

/// Flags that a file may give and a run does not leave: the seed stays secret, and what is shown is nobody's result.
const NOT_LEFT: [&str; 2] = ["seed", "quiet"];

/// How the file of a run begins: what it is, and how far it repeats the run.
const HEADER: &str = "\
# The flags of a run of dpsgd train, and the defaults that its plan and model had: `dpsgd train --config` this file runs it again.
";
const REPEATED: &str = "\
# The seed is not here, as it must stay secret: with --seed the run is repeated to the last bit.
";
const REPEATED_FROM_ITS_MODEL: &str = "\
# The seed is not here, as it must stay secret: with --seed, and with the model that `extend` names as it was, the run is
# repeated to the last bit.
";
const ONE_MORE_ENTRY: &str = "\
# That is another run, which `ledger` counts beside this one: --seed and --holdout are refused with a ledger, so no run of one is
# repeated to the last bit.
";

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

    fn has(&self, key: &str) -> bool {
        self.0.keys().any(|(_, name)| name == key)
    }

    /// The file from which the run can be repeated.
    pub(super) fn to_toml(&self) -> String {
        let mut text = HEADER.to_string();
        text += if self.has("ledger") {
            ONE_MORE_ENTRY
        } else if self.has("extend") {
            REPEATED_FROM_ITS_MODEL
        } else {
            REPEATED
        };
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
    use crate::cli::config::word as word_of;
    use toml::de::DeTable;

    #[test]
    fn literals_are_read_back_as_they_were() {
        for word in
            ["3", "0.1", "-7", "007", "1e-5", "", "a\"b\\c\n\u{7f}é", "nan", "true", "0.", ".5", "1.0000000000000002"]
        {
            let text = format!("x = {}", literal(word));
            let table = DeTable::parse(&text).unwrap();
            assert_eq!(word_of(table.get_ref()["x"].get_ref()).unwrap(), word, "{text}");
        }
        assert_eq!(
            (literal("0.1"), literal("1e-5"), literal("007")),
            ("0.1".into(), "\"1e-5\"".into(), "\"007\"".into())
        );
    }
}
