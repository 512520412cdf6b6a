//! Quotes: how text from a file appears in a message, which is one line of limited length whatever the file holds.

/// More than this of one cell is not shown.
const MAX_TEXT: usize = 60;

/// More names than this are counted, not shown.
const MAX_NAMES: usize = 40;

/// The text in backquotes, shortened, with line ends and other control characters escaped.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", plain(text))
}

/// The names one after another, each as [`quoted`] shows it but without the backquotes.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<&String> = names.into_iter().collect();
    let mut shown: Vec<String> = names.iter().take(MAX_NAMES).map(|name| plain(name)).collect();
    if names.len() > MAX_NAMES {
        shown.push(format!("... ({} in all)", names.len()));
    }
    shown.join(", ")
}

fn plain(text: &str) -> String {
    let mut plain = String::new();
    for (at, character) in text.chars().enumerate() {
        match character {
            _ if at == MAX_TEXT => {
                plain.push_str("...");
                break;
            }
            _ if character.is_control() => plain.extend(character.escape_default()),
            _ => plain.push(character),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_stay_on_one_line_and_short() {
        assert_eq!(quoted("a\nb\u{1b}[31m"), "`a\\nb\\u{1b}[31m`");
        assert_eq!(quoted(&"é".repeat(60)), format!("`{}`", "é".repeat(60)));
        assert_eq!(quoted(&"é".repeat(61)), format!("`{}...`", "é".repeat(60)));
        let names: Vec<String> = (0..41).map(|i| i.to_string()).collect();
        assert_eq!(list(&names[..3]), "0, 1, 2");
        assert!(list(&names).ends_with("38, 39, ... (41 in all)"));
    }
}
