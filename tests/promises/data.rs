//! Data: what `dpsgd data inspect` shows is what training reads, and records left on disk train the same model.
#![cfg(feature = "cli")]

use super::command_line::{dpsgd, entries, here, json, ok, small_csv};
use super::configuration::images;
use dpsgd::data::{Reading, read};
use std::fmt::Write as _;
use std::io::Write as _;

/// Rows of three numbers and a category with a class, the first column being a number of its own.
fn table(rows: usize) -> String {
    let mut text = String::from("id,a,b,kind,y\n");
    for i in 0..rows {
        let (a, b) = ((i * 7_919) % 1_000, (i * 104_729) % 997);
        writeln!(text, "{i},{a},{b},{},{}", ["p", "q", "r"][i % 3], usize::from(a > b)).unwrap();
    }
    text
}

const DECLARED: &str = "--data big.csv --ignore id --range 0:1000 --categorical kind=p|q|r --classes 0,1";

#[test]
fn two_hundred_thousand_records_on_disk_train_the_same_model() {
    let here = here();
    let path = here.path().join("big.csv");
    std::fs::write(&path, table(200_000)).unwrap();
    let data = read(&path, &Reading { on_disk: true, ..Reading::default() }).unwrap();
    // Twelve bytes for where a record lies, four for its label, whatever the length of a line.
    assert!(data.len() == 200_000 && data.bytes() <= 24 * data.len(), "{} bytes", data.bytes());
    let train = format!("train {DECLARED} --holdout 0.01 --steps 4 --batch-size 1000 --seed 5 --quiet");
    let (memory, disk) = (json(here.path(), &train), json(here.path(), &format!("{train} --on-disk")));
    for part in ["/model", "/privacy", "/utility", "/assumptions"] {
        assert!(memory.pointer(part).is_some_and(|part| !part.is_null()), "{part} in {memory}");
        assert_eq!(memory.pointer(part), disk.pointer(part), "{part}");
    }
}

#[test]
fn records_on_disk_resume_and_are_tested_like_those_in_memory() {
    let here = here();
    std::fs::write(here.path().join("big.csv"), table(500)).unwrap();
    std::fs::write(here.path().join("test.csv"), table(100)).unwrap();
    let train = format!("train {DECLARED} --test-data test.csv --steps 3 --seed 5 --quiet");
    let (memory, disk) = (json(here.path(), &train), json(here.path(), &format!("{train} --on-disk --out kept")));
    assert_eq!(memory["utility"], disk["utility"]);
    assert_eq!(memory["model"], disk["model"]);
    assert!(entries(here.path()).contains(&"kept".to_string()));
    ok(here.path(), "verify kept");
}

#[test]
fn what_cannot_stay_on_disk_is_refused_before_anything_is_made() {
    let here = here();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(small_csv().as_bytes()).unwrap();
    std::fs::write(here.path().join("small.csv.gz"), packed.finish().unwrap()).unwrap();
    for (data, words) in [
        ("optdigits", &["optdigits", "embedded"][..]),
        (".", &["a directory"]),
        ("small.csv.gz", &["gzip'd", "gunzip", "--on-disk"]),
    ] {
        let ran = dpsgd(here.path(), &["train", "--data", data, "--on-disk", "--out", "new"]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(words.iter().all(|word| ran.first_line().contains(word)), "{}", ran.stderr);
        assert!(!entries(here.path()).contains(&"new".to_string()));
    }
}

#[test]
fn an_inspection_shows_what_was_seen_and_how_to_declare_it() {
    let here = here();
    std::fs::write(here.path().join("people.csv"), "age,job,y\n30,clerk,<=50K\n?,smith,>50K\n50,clerk,<=50K\n")
        .unwrap();
    let text = ok(here.path(), "data inspect people.csv").stdout;
    for part in [
        "NOT PRIVATE",
        "people (csv)",
        "records    3 of 4 feature(s), shape 4",
        "seen       the classes <=50K, >50K",
        "\ncolumn  becomes      features  what is known of it\n",
        "\nage     numeric             2  seen: missing values, numbers from 30 to 50\n",
        "\njob     categorical         2  seen: 2 categories: clerk, smith\ny       label               0\n",
        "first record, of class <=50K:\n  age = 30\n  job=clerk = 1\n  all others are 0",
        "  - the 2 class labels (<=50K, >50K) were taken from the data",
        "THESE VALUES COME FROM THE DATA",
        "  --classes '<=50K,>50K'\n  --numeric 'age=30:50?'\n  --categorical 'job=clerk|smith'\n",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    // The suggestions are flags that work, and leave nothing to suggest.
    let declared = ["data", "inspect", "people.csv", "--classes", "<=50K,>50K", "--numeric", "age=30:50?"];
    let ran = dpsgd(here.path(), &[&declared[..], &["--categorical", "job=clerk|smith"]].concat()).well();
    assert!(ran.stdout.contains("nothing that a flag could declare was taken from the data"), "{}", ran.stdout);

    let report = json(here.path(), "data inspect --data people.csv --label 2 --holdout 0.34 --header yes");
    assert_eq!((report["records"].as_u64(), report["test"]["records"].as_u64()), (Some(2), Some(1)));
    assert_eq!(report["columns"][1]["treatment"], "label");
    assert!(report["not_private"].is_string());
}

#[test]
fn named_data_are_inspected_under_their_names() {
    let here = here();
    let adult = json(here.path(), "data inspect adult");
    assert_eq!((adult["records"].as_u64(), adult["test"]["records"].as_u64()), (Some(32_561), Some(16_281)));
    assert_eq!(adult["columns"][0]["name"], "age");
    assert_eq!(adult["columns"][0]["declared"][0], "range 0 to 100");
    assert_eq!(adult["suggestions"].as_array().map(Vec::len), Some(0));
    let digits = json(here.path(), "data inspect");
    assert_eq!((digits["name"].as_str(), digits["shape"][1].as_u64()), (Some("optdigits"), Some(8)));
}

#[test]
fn cifar_files_are_read_and_trained_on() {
    let here = here();
    let batch = |records: usize, first: usize| -> Vec<u8> {
        (first..first + records)
            .flat_map(|i| std::iter::once((i % 10) as u8).chain((0..3_072).map(move |at| (i * 31 + at) as u8)))
            .collect()
    };
    std::fs::create_dir(here.path().join("cifar-10")).unwrap();
    std::fs::write(here.path().join("cifar-10/data_batch_1.bin"), batch(40, 0)).unwrap();
    std::fs::write(here.path().join("cifar-10/test_batch_part.bin"), batch(10, 5)).unwrap();
    let named = "train --data cifar-10 --data-dir . --model cnn --steps 2 --batch-size 8 --seed 1 --quiet";
    let report = json(here.path(), named);
    assert_eq!(report["utility"]["test_data"], "test_batch_part.bin of CIFAR-10");
    assert_eq!(report["utility"]["test_records"], 10);
    let assumptions = report["assumptions"].to_string();
    assert!(assumptions.contains("1 of the 5 training files of CIFAR-10: data_batch_1.bin"), "{assumptions}");
    let one = "train --data cifar-10/data_batch_1.bin --data-format cifar-10 --test-data cifar-10/test_batch_part.bin \
               --model cnn --steps 2 --batch-size 8 --seed 1 --quiet";
    assert_eq!(json(here.path(), one)["model"]["sha256"], report["model"]["sha256"]);
}

#[test]
fn the_test_part_of_named_data_is_needed_only_where_it_is_tested_on() {
    let here = here();
    images(here.path(), 40);
    for name in ["t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"] {
        std::fs::remove_file(here.path().join(name)).unwrap();
    }
    let line = "train --data mnist --data-dir . --steps 1 --batch-size 20 --quiet";
    let tested = json(here.path(), &format!("{line} --test-data train-images-idx3-ubyte"));
    assert_eq!(
        (&tested["utility"]["test_records"], &tested["utility"]["test_data"]),
        (&40.into(), &"train-images-idx3-ubyte".into())
    );
    assert_eq!(json(here.path(), &format!("{line} --holdout 0.25"))["utility"]["test_records"], 10);
    let ran = dpsgd(here.path(), &line.split_whitespace().collect::<Vec<_>>());
    assert!(ran.code == Some(2) && ran.first_line().contains("t10k-images-idx3-ubyte"), "{}", ran.stderr);
}

#[test]
fn what_is_no_table_is_named_with_a_way_out() {
    let here = here();
    let directory = here.path();
    std::fs::write(directory.join("empty.csv"), "").unwrap();
    std::fs::write(directory.join("book.xlsx"), b"PK\x03\x04\x14\0\x06\0").unwrap();
    std::fs::write(directory.join("label10.bin"), [&[10u8][..], &[0; 3_072]].concat()).unwrap();
    std::fs::write(directory.join("short.bin"), [0; 3_072]).unwrap();
    for (words, expected) in [
        ("--data .", &["found a directory", "--data-dir"][..]),
        ("--data empty.csv", &["empty.csv", "an empty file", "at least one record"]),
        ("--data book.xlsx", &["book.xlsx", "zip archive", ".xlsx", "CSV"]),
        ("--data book.xlsx --data-format text --vocabulary bytes", &["book.xlsx", "zip archive", ".xlsx"]),
        ("--data small.csv --data-dir .", &["--data-dir = .", "cifar-10", "small.csv"]),
        ("--data small.csv --data-format libsvm --missing x", &["--missing = x", "only with the format csv"]),
        ("--data small.csv --data-format idx --missing x", &["--missing = x", "only with the format csv"]),
        ("--data adlut --data-dir .", &["--data = adlut", "optdigits"]),
        ("--data adlut", &["--data = adlut", "optdigits, adult, mnist, fashion-mnist, cifar-10"]),
        ("--data adult --range 0:1", &["adult is embedded"]),
        ("--data cifar-10", &["--data-dir", "cifar-10"]),
        ("--data cifar-10 --data-dir .", &["--data-dir", "data_batch_1.bin"]),
        ("--data label10.bin --data-format cifar-10", &["label10.bin", "the label 10 for record 1", "0 to 9"]),
        ("--data short.bin --data-format cifar-10", &["short.bin", "3072 bytes", "3073"]),
        ("--data short.bin --data-format cifar-10 --on-disk", &["--on-disk", "only CSV, LIBSVM and IDX files"]),
        ("--data small.csv --column-names a,b", &["small.csv:1", "4 cells", "2, as many"]),
        ("--data small.csv --column-names a,b,c,d --header yes", &["--column-names", "--header yes"]),
    ] {
        for command in ["train --quiet", "data inspect"] {
            let line = format!("{command} {words}");
            let ran = dpsgd(directory, &line.split_whitespace().collect::<Vec<_>>());
            assert_eq!(ran.code, Some(2), "{line}: {}", ran.stderr);
            assert!(expected.iter().all(|word| ran.first_line().contains(word)), "{line}: {}", ran.stderr);
            assert!(ran.stdout.is_empty(), "{line}: {}", ran.stdout);
        }
    }
    let both = dpsgd(directory, &["data", "inspect", "small.csv", "--data", "small.csv"]);
    assert!(both.code == Some(2) && both.stderr.contains("--data"), "{}", both.stderr);
}

#[test]
fn columns_can_be_named_where_the_file_does_not() {
    let here = here();
    let report = json(here.path(), "data inspect small.csv --column-names a,b,c,y --label y --range b=0:1");
    let names: Vec<_> = report["columns"].as_array().unwrap().iter().map(|column| column["name"].as_str()).collect();
    assert_eq!(names, [Some("a"), Some("b"), Some("c"), Some("y")]);
    assert_eq!(report["records"], 60);
    ok(here.path(), "train --data small.csv --column-names a,b,c,y --label y --ignore a --steps 2 --quiet");
}
