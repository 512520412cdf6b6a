//! Suggestions: the flags that would declare what was seen in a file.

use serde::Serialize;

/// More categories than this make no flag that anybody would type.
const MOST_CATEGORIES: usize = 100;

/// A flag that would declare what was seen. Its value comes from the data: whoever uses it as it is declares something private to
/// be public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Suggestion {
    /// The flag, such as `--classes`.
    pub flag: String,
    /// Its value, such as `no,yes`.
    pub value: String,
}

impl Suggestion {
    pub(super) fn new(flag: &str, value: &str) -> Self {
        Self { flag: flag.to_owned(), value: value.to_owned() }
    }
}

impl std::fmt::Display for Suggestion {
    /// As it is typed in a shell.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+=:.,/%@".contains(&byte);
        // A value that starts with a dash would be taken for a flag.
        let join = if self.value.starts_with('-') { '=' } else { ' ' };
        if !self.value.is_empty() && self.value.bytes().all(harmless) {
            write!(f, "{}{join}{}", self.flag, self.value)
        } else {
            write!(f, "{}{join}'{}'", self.flag, self.value.replace('\'', r"'\''"))
        }
    }
}

/// `--classes A,B`, unless a name cannot be said so.
pub(super) fn classes(names: &[String]) -> Option<Suggestion> {
    let plain = names.len() <= MOST_CATEGORIES && names.iter().all(|name| sayable(name, ','));
    plain.then(|| Suggestion::new("--classes", &names.join(",")))
}

/// `--categorical COLUMN=A|B`, unless a name cannot be said so.
pub(super) fn categories(column: &str, names: &[String]) -> Option<Suggestion> {
    let plain = names.len() <= MOST_CATEGORIES && names.iter().all(|name| sayable(name, '|')) && !column.contains('=');
    plain.then(|| Suggestion::new("--categorical", &format!("{column}={}", names.join("|"))))
}

/// `--range LOW:HIGH`, of one column or of all; `--numeric COLUMN=LOW:HIGH?` if values may be missing there. None where the values
/// are all alike.
pub(super) fn range(column: Option<&str>, (low, high): (f32, f32), missing: bool) -> Option<Suggestion> {
    let suggestion = match column {
        Some(column) if missing => Suggestion::new("--numeric", &format!("{column}={low}:{high}?")),
        Some(column) => Suggestion::new("--range", &format!("{column}={low}:{high}")),
        None => Suggestion::new("--range", &format!("{low}:{high}")),
    };
    (low < high).then_some(suggestion)
}

fn sayable(name: &str, separator: char) -> bool {
    !name.is_empty() && name.trim() == name && !name.contains(separator) && !name.contains(char::is_control)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn words_for_a_shell() {
        assert_eq!(classes(&names(&["no", "yes"])).unwrap().to_string(), "--classes no,yes");
        assert_eq!(classes(&names(&["<=50K", ">50K"])).unwrap().to_string(), "--classes '<=50K,>50K'");
        assert_eq!(classes(&names(&["-1", "1"])).unwrap().to_string(), "--classes=-1,1");
        assert_eq!(categories("job", &names(&["a", "it's"])).unwrap().to_string(), r"--categorical 'job=a|it'\''s'");
        assert_eq!(range(Some("age"), (17.0, 90.0), false).unwrap().to_string(), "--range age=17:90");
        assert_eq!(range(Some("age"), (17.0, 90.5), true).unwrap().to_string(), "--numeric 'age=17:90.5?'");
        assert_eq!(range(None, (-1.0, 1.0), false).unwrap().to_string(), "--range=-1:1");
    }

    #[test]
    fn what_cannot_be_said_is_not_suggested() {
        assert_eq!(classes(&names(&["a,b", "c"])), None);
        assert_eq!(categories("job", &names(&["a|b", "c"])), None);
        assert_eq!(categories("job", &vec!["x".to_owned(); 101]), None);
        assert_eq!(range(None, (1.0, 1.0), false), None);
    }
}
