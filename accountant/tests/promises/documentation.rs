//! What the documentation shows is what the crate reads.

use std::collections::BTreeSet;
use std::io::Write;

use dp_accountant::Event;

use crate::every_event::every_kind;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/accountant/events.md");

#[test]
fn every_event_is_documented_as_it_is_written() {
    let Ok(text) = std::fs::read_to_string(FILE) else {
        std::io::stderr().write_all(b"SKIPPED: ../docs is not here: its examples of events are not read\n").unwrap();
        return;
    };
    let lines = text.lines().filter(|line| line.starts_with('{'));
    let mut seen = BTreeSet::new();
    for line in lines {
        let event: Event = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        let written = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&written).unwrap(), event, "{line}");
        // Nothing is shown that would be written otherwise.
        let (shown, own): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(line).unwrap(), serde_json::from_str(&written).unwrap());
        assert_eq!(shown, own, "{line}");
        seen.insert(event.kind());
    }
    for event in every_kind() {
        assert!(seen.contains(event.kind()), "{} is not documented", event.kind());
    }
    assert_eq!(seen.len(), 23, "{seen:?}");
}
