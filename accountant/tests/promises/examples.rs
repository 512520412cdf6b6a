//! The examples run, and end well.

#[path = "../../examples/calibrate.rs"]
mod calibrate;
#[path = "../../examples/compare.rs"]
mod compare;
#[path = "../../examples/filter.rs"]
mod filter;
#[path = "../../examples/group.rs"]
mod group;
#[path = "../../examples/ledger.rs"]
mod ledger;

#[test]
fn every_example_runs() {
    calibrate::main().unwrap();
    compare::main().unwrap();
    filter::main().unwrap();
    group::main().unwrap();
    ledger::main().unwrap();
}
