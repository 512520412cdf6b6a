//! Sniffing: which format the first bytes of a file are in.

use std::path::Path;

use super::reading::Format;

/// The format of a file that starts with `head`. What is neither IDX nor LIBSVM is taken for CSV, whose reader says
/// what is wrong with it.
pub(super) fn format(head: &[u8]) -> Format {
    // No text starts with two zero bytes, and every IDX file does.
    if head.starts_with(&[0, 0]) {
        return Format::Idx;
    }
    // The first line with more than a label decides; LIBSVM rows without features have only that.
    let deciding = head.split(|&byte| byte == b'\n').map(before_comment).find(|line| line.len() > 1);
    match deciding.as_deref() {
        Some([label, pair, ..]) if is_number(label) && is_pair(pair) => Format::Libsvm,
        _ => Format::Csv,
    }
}

/// The delimiter of a CSV file whose table starts with `line`.
pub(super) fn delimiter(path: &Path, line: &[u8]) -> char {
    let name = path.to_string_lossy().to_ascii_lowercase();
    let tsv = name.strip_suffix(".gz").unwrap_or(&name).ends_with(".tsv");
    if tsv || line.contains(&b'\t') {
        '\t'
    } else if line.contains(&b';') && !line.contains(&b',') {
        ';'
    } else {
        ','
    }
}

/// The first two words of a line that stand before a `#`.
fn before_comment(line: &[u8]) -> Vec<&str> {
    let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    // A word that is no text stays as an empty one: it is neither a number nor a pair.
    words.take(2).map(|word| std::str::from_utf8(word).unwrap_or_default()).collect()
}

fn is_number(word: &str) -> bool {
    word.parse::<f64>().is_ok()
}

fn is_pair(word: &str) -> bool {
    word.split_once(':').is_some_and(|(index, value)| {
        index == "qid" || (index.bytes().all(|byte| byte.is_ascii_digit()) && !index.is_empty() && is_number(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        for (head, expected) in [
            (&b"\0\0\x08\x03\0\0"[..], Format::Idx),
            (b"\0\0\x07\x03", Format::Idx),
            (b"-1 3:1 11:1 \n", Format::Libsvm),
            (b"# comment\n\n+1\n-1 # none\n1.0 1:0.5 broken\n", Format::Libsvm),
            (b"3 qid:1 1:2\n", Format::Libsvm),
            (b"39, State-gov, 77516\n", Format::Csv),
            (b"1,2:3\n", Format::Csv),
            (b"1 2 3\n", Format::Csv),
            (b"a 1:1\n", Format::Csv),
            (b"1\n2\n", Format::Csv),
            (b"1 \xff:1\n", Format::Csv),
            (b"", Format::Csv),
        ] {
            assert_eq!(format(head), expected, "{}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn delimiters() {
        let of = |path: &str, line: &str| delimiter(Path::new(path), line.as_bytes());
        assert_eq!(of("a.csv", "1,2;3"), ',');
        assert_eq!(of("a.csv", "1;2"), ';');
        assert_eq!(of("a.csv", "1\t2,3"), '\t');
        assert_eq!(of("A.TSV.gz", "1,2"), '\t');
        assert_eq!(of("a", "12"), ',');
    }
}
