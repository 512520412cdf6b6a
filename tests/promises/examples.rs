//! Every example runs and keeps what it claims: each asserts its accuracy and its epsilon.

#[path = "../../examples/ask_the_accountant.rs"]
mod ask_the_accountant;
#[path = "../../examples/own_dataset.rs"]
mod own_dataset;
#[path = "../../examples/own_loop.rs"]
mod own_loop;
#[path = "../../examples/own_model.rs"]
mod own_model;
#[path = "../../examples/transfer_lora.rs"]
mod transfer_lora;

#[test]
fn ask_the_accountant_keeps_its_claims() {
    ask_the_accountant::main().unwrap();
}

#[test]
fn own_dataset_keeps_its_claims() {
    own_dataset::main().unwrap();
}

#[test]
fn own_loop_keeps_its_claims() {
    own_loop::main().unwrap();
}

#[test]
fn own_model_keeps_its_claims() {
    own_model::main().unwrap();
}

#[test]
fn transfer_lora_keeps_its_claims() {
    transfer_lora::main().unwrap();
}

#[test]
fn no_example_is_left_out_and_each_is_short() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let here = include_str!("examples.rs");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(root.join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(here.contains(&format!("    {name}::main()")), "{name} is run by no test");
        assert!(readme.contains(&name), "{name} is not in the README");
        assert!(lines < 100, "{name} has {lines} lines");
        count += 1;
    }
    assert_eq!(count, 5);
}
