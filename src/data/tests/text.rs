//! Text files, to the token.

use super::super::{Domain, Form, Format, Header, Label, Target, Vocabulary};
use super::*;

fn text(words: &[&str], length: usize) -> Reading {
    let vocabulary = if words.is_empty() { Vocabulary::bytes() } else { Vocabulary::words(words).unwrap() };
    Reading {
        format: Some(Format::Text),
        vocabulary: Some(vocabulary),
        length: Some(length),
        label: Label::First,
        ..Reading::default()
    }
}

fn windows(words: &[&str], length: usize) -> Reading {
    Reading { label: Label::Last, language_model: true, ..text(words, length) }
}

fn tokens(data: &Dataset) -> Vec<Vec<u32>> {
    let (mut tokens, mut labels) = (Vec::new(), Vec::new());
    data.gather_tokens(&(0..data.len()).collect::<Vec<_>>(), &mut tokens, &mut labels).unwrap();
    assert_eq!(labels, data.labels());
    tokens.chunks(data.width()).map(<[u32]>::to_vec).collect()
}

#[test]
fn words_are_cut_filled_and_unknown() {
    let data = of("ham\tIt's, a FINE day\r\n\nspam\t\"win!\nham\t\n spam \tno", &text(&["it", "fine", "win"], 4));
    // 3 stands for words that are not in the list, 4 for the end of the text.
    assert_eq!(tokens(&data), [[0, 3, 3, 1], [2, 4, 4, 4], [4; 4], [3, 4, 4, 4]]);
    assert_eq!((data.labels(), data.classes()), (&[0, 1, 0, 1][..], &strings(&["ham", "spam"])[..]));
    assert_eq!(data.form(), Form::tokens(4, 5, Target::Class(2)));
    assert!(
        has_note(&data, "first 4 tokens (words of a list of 3)") && has_note(&data, "list of 3 words was declared")
    );
    assert!(has_note(&data, "2 class labels (ham, spam) were taken from the data"));
    assert_eq!(rows(&data)[1], [2.0, 4.0, 4.0, 4.0]);
    let few = data.select(&[3, 0]).unwrap();
    assert_eq!(tokens(&few), [[3, 4, 4, 4], [0, 3, 3, 1]]);
    assert!(data.reshape(&[2, 2]).is_err());
}

#[test]
fn bytes_are_what_they_are() {
    let data = of(b"a\t\xffx \r\nb\t\nb\t\"\na\tabcd".as_slice(), &text(&[], 3));
    assert_eq!(tokens(&data), [[255, 120, 32], [256; 3], [34, 256, 256], [97, 98, 99]]);
    assert_eq!(data.form().domain, Domain::Tokens { vocabulary: 257 });
    assert!(!has_note(&data, "list"));
}

#[test]
fn other_delimiters_quote_and_labels_may_stand_last() {
    let reading = Reading { delimiter: Some(','), label: Label::Last, ..text(&["a", "b"], 3) };
    assert_eq!(tokens(&of("\"a, \"\"b\"\" b\",1\nb,2\na,1\na,2\n", &reading))[0], [0, 1, 1]);
    let message = wrong("b,2\n\"a\nb,1\na,\"2\na,1\n", &reading);
    assert!(message.starts_with("t.csv:2: found a line end within quotes"), "{message}");
    let message = wrong("a,1\n\"b,2\na,1\n", &reading);
    assert_eq!(message, "t.csv:2: found a quote that is never closed; expected a closing quote");
    assert!(wrong("a,1\nb,2,3\n", &reading).starts_with("t.csv:2: found 3 cell(s)"));
    let skipping = Reading { skip_lines: 1, ..reading };
    assert!(wrong("x\n\na,1\nb\n", &skipping).starts_with("t.csv:4: found 1 cell(s)"));
}

#[test]
fn a_header_is_declared_or_asked_for() {
    let content = "sentence\tlabel\na\t0\nb\t1\n";
    let named = Reading { label: "label".parse().unwrap(), ..text(&["a", "b"], 2) };
    let data = of(content, &named);
    assert_eq!((tokens(&data), data.classes()), (vec![vec![0, 3], vec![1, 3]], &strings(&["0", "1"])[..]));
    let last = Reading { label: Label::Last, ..named.clone() };
    assert!(wrong(content, &last).contains("t.csv:1: found the label `label`, which no other line has"));
    assert_eq!(tokens(&of(content, &Reading { header: Header::Yes, ..last.clone() })), tokens(&data));
    assert_eq!(of(content, &Reading { header: Header::No, ..last.clone() }).len(), 3);
    let declared = Reading { classes: Some(strings(&["0", "1"])), ..last };
    assert!(wrong(content, &declared).contains("`--header yes`"));
    assert!(wrong(content, &Reading { label: "y".parse().unwrap(), ..named.clone() }).contains("sentence, label"));
    assert!(wrong_like("text\tlabel\na\t0\n", data.schema()).contains("as in the training file"));
    assert!(wrong_like("sentence\tlabel\na\t2\n", data.schema()).contains("one of the classes 0, 1"));
}

#[test]
fn windows_follow_one_another_and_the_rest_is_left_out() {
    let data = of("a b\nc a, A b\r\nb", &windows(&["a", "b"], 3));
    assert_eq!(tokens(&data), [[0, 1, 2], [0, 0, 1]]);
    assert_eq!((data.form().target, data.labels(), data.classes().len()), (Target::NextToken, &[0, 0][..], 0));
    assert!(has_note(&data, "one window of 3 tokens") && has_note(&data, "may span several windows"));
    assert_eq!(tokens(&of("ab\ncd", &windows(&[], 2))), [[97, 98], [10, 99]]);
    let message = wrong("ab", &windows(&[], 3));
    assert_eq!(message, "t.csv: found 2 tokens; expected at least one window of 3; `--length N` makes windows shorter");
    assert!(wrong(b"a\nb \xff\n".as_slice(), &windows(&["a"], 1)).starts_with("t.csv:2: found bytes that are not"));
}

#[test]
fn a_second_file_and_a_schema_read_back_make_the_same_tokens() {
    let files = Files::new();
    for (content, reading) in [
        ("ham\ta b\nspam\tb\nham\tx\nspam\ta\n", text(&["a", "b"], 3)),
        ("ham\ta b\nspam\tb\nham\tx\nspam\ta\n", text(&[], 3)),
        ("a b a b", windows(&["b"], 2)),
    ] {
        let data = of(content, &reading);
        let json = serde_json::to_string(data.schema()).unwrap();
        let schema: Schema = serde_json::from_str(&json).unwrap();
        assert_eq!(&schema, data.schema());
        let like = read_like(&files.write("again.gz", gzip(content.as_bytes())), None, &schema).unwrap();
        assert_eq!((tokens(&like), like.labels()), (tokens(&data), data.labels()));
        let broken = json.replace("\"shape\":[", "\"shape\":[1,");
        assert!(serde_json::from_str::<Schema>(&broken).is_err());
    }
    let json = serde_json::to_string(of("a b", &windows(&["b"], 2)).schema()).unwrap();
    assert!(serde_json::from_str::<Schema>(&json.replace("\"classes\":[]", "\"classes\":[\"a\",\"b\"]")).is_err());
}

#[test]
fn hostile_files_are_refused() {
    let reading = text(&["a"], 2);
    for (content, part) in [
        (&b""[..], "an empty file"),
        (b"\n \n", "an empty file"),
        (b"ham a\nspam b\n", "t.csv:1: found 1 cell(s)"),
        (b"ham\ta\tb\n", "t.csv:1: found 3 cell(s)"),
        (b"ham\ta\n\ta\n", "t.csv:2: found a missing label"),
        (b"ham\ta\nham\tb\n", "1 class"),
        (b"ham\ta\n\xffm\tb\n", "t.csv:2: found bytes that are not UTF-8 text in the label"),
        (b"ham\ta\nspam\t\xc3\n", "t.csv:2: found bytes that are not UTF-8 text"),
    ] {
        let message = wrong(content, &reading);
        assert!(message.contains(part), "{message}");
    }
    let many: String = (0..1_001).map(|i| format!("{i}\ta\n")).collect();
    assert!(wrong(many, &Reading { header: Header::No, ..reading.clone() }).contains("1001 different labels"));
    let numbers = of("1,2,a\n2,3,b\n", &Reading::default());
    assert!(numbers.gather_tokens(&[0], &mut Vec::new(), &mut Vec::new()).unwrap_err().to_string().contains("tokens"));
}

#[test]
fn published_texts_have_their_counts() {
    let (Some(sms), Some(train), Some(dev)) =
        (shared("uci/sms-spam/SMSSpamCollection"), shared("text/sst-2/train.tsv"), shared("text/sst-2/dev.tsv"))
    else {
        eprintln!("SKIPPED: ../shared is not here: the counts of SMS spam and SST-2 are not checked");
        return;
    };
    let count = |data: &Dataset| [0, 1].map(|class| data.labels().iter().filter(|label| **label == class).count());
    assert_eq!(count(&read(&sms, &text(&[], 256)).unwrap()), [4_827, 747]);
    let sst = read(&train, &Reading { label: "label".parse().unwrap(), ..text(&["the"], 64) }).unwrap();
    assert_eq!(count(&sst), [29_780, 37_569]);
    assert_eq!(count(&read_like(&dev, None, sst.schema()).unwrap()), [428, 444]);
}

#[test]
fn a_file_that_is_no_text_does_not_become_tokens() {
    let text_of = of("a\tx\nb\ty\na\tx\nb\ty\n", &text(&[], 3));
    let windows_of = of("To be, or not to be", &windows(&[], 3));
    let body = b"\0\x06\0a\tb\na\tc\nb\td\n";
    for (start, named) in [
        (&b"PK\x03\x04"[..], "a zip archive, as workbooks of Excel (.xlsx) are"),
        (b"PAR1", "a Parquet file"),
        (b"\xff\xfe", "text in UTF-16"),
        (b"\xfe\xff", "text in UTF-16"),
    ] {
        let plain = [start, body].concat();
        for content in [plain.clone(), gzip(&plain)] {
            for reading in [text(&[], 3), windows(&[], 3), text(&["a"], 3)] {
                assert!(wrong(&content, &reading).starts_with(&format!("t.csv: found {named}; expected ")), "{named}");
            }
            for schema in [text_of.schema(), windows_of.schema()] {
                assert!(wrong_like(&content, schema).starts_with(&format!("t.csv: found {named}; ")), "{named}");
            }
        }
    }
    // Bytes that name no format are tokens as they are.
    assert_eq!(tokens(&of(b"PK\x03 \xff\xfe", &windows(&[], 3))), [[80, 75, 3], [32, 255, 254]]);
}
