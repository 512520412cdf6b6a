//! Known facts of real data sets, from their publishers: records, classes, widths.

use sha2::{Digest, Sha256};

use super::super::embedded::{ADULT_NOTICE, OPTDIGITS_NOTICE, adult, adult_reading, optdigits};
use super::super::{ColumnRule, Format, Header, read_cifar10};
use super::*;

fn counts(data: &Dataset) -> Vec<usize> {
    let mut counts = vec![0; data.classes().len()];
    data.labels().iter().for_each(|&label| counts[label as usize] += 1);
    counts
}

/// The shared file, or a loud line saying what is not checked.
fn present(path: &str) -> Option<PathBuf> {
    let found = shared(path);
    if found.is_none() {
        skipped(&format!("../shared is not here: the known facts of {path} are not checked"));
    }
    found
}

fn sha256(packed: &[u8]) -> String {
    let mut content = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(packed), &mut content).unwrap();
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_embedded_digits_are_the_original_files() {
    let train = sha256(include_bytes!("../optdigits/optdigits.tra.gz"));
    let test = sha256(include_bytes!("../optdigits/optdigits.tes.gz"));
    assert_eq!(train, "e1b683cc211604fe8fd8c4417e6a69f31380e0c61d4af22e93cc21e9257ffedd");
    assert_eq!(test, "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8");
    assert!(OPTDIGITS_NOTICE.contains("Alpaydin") && OPTDIGITS_NOTICE.contains("CC BY 4.0"));
}

/// Class counts: optdigits.names, section "Class Distribution".
#[test]
fn embedded_digits() {
    let (train, test) = optdigits().unwrap();
    assert_eq!((train.name(), train.len(), train.shape(), train.width()), ("optdigits", 3_823, &[8, 8][..], 64));
    assert_eq!((test.name(), test.len(), test.shape()), ("optdigits-test", 1_797, &[8, 8][..]));
    assert_eq!(train.classes(), strings(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]));
    assert_eq!(counts(&train), [376, 389, 380, 389, 387, 376, 377, 387, 380, 382]);
    assert_eq!(counts(&test), [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    // The first record starts 0,1,6,15,12,1,0,0 and is a zero.
    assert_eq!(rows(&train)[0][..8], [0.0, 1.0, 6.0, 15.0, 12.0, 1.0, 0.0, 0.0].map(|ink: f32| ink / 16.0));
    assert_eq!(train.labels()[0], 0);
    assert!(rows(&train).iter().flatten().all(|value| (0.0..=1.0).contains(value)));
    assert!(has_note(&train, "one image, not one writer") && has_note(&test, "one image, not one writer"));
    assert!(
        has_note(&train, "the declared public range 0..16") && has_note(&train, "records, 3823, is treated as public")
    );
    assert!(!has_note(&train, "not privatised"), "{:?}", train.notes());
}

#[test]
fn libsvm_files() {
    for (path, width, records, classes, expected) in [
        ("libsvm/a1a", 123, 1_605, ["-1", "1"], [1_210, 395]),
        ("libsvm/a9a", 123, 32_561, ["-1", "1"], [24_720, 7_841]),
        ("libsvm/a9a.t", 123, 16_281, ["-1", "1"], [12_435, 3_846]),
        ("libsvm/w1a", 300, 2_477, ["-1", "1"], [2_405, 72]),
        ("libsvm/w8a", 300, 49_749, ["-1", "1"], [48_270, 1_479]),
        ("libsvm/mushrooms", 112, 8_124, ["1", "2"], [3_916, 4_208]),
        ("libsvm/ijcnn1.gz", 22, 49_990, ["-1", "1"], [45_137, 4_853]),
        ("libsvm/ijcnn1.t.gz", 22, 91_701, ["-1", "1"], [82_989, 8_712]),
        ("libsvm/australian", 14, 690, ["-1", "1"], [383, 307]),
    ] {
        let Some(path) = present(path) else { continue };
        let data = read(&path, &Reading { width: Some(width), ..Reading::default() }).unwrap();
        assert_eq!((data.len(), data.width()), (records, width), "{}", path.display());
        assert_eq!(data.classes(), strings(&classes), "{}", path.display());
        assert_eq!(counts(&data), expected, "{}", path.display());
        assert_eq!(data.schema().format(), Some(Format::Libsvm));
    }
}

/// The number of non-zero entries of w8a, 579,586, is on the LIBSVM data page (11.65 a record).
#[test]
fn entries_of_w8a_and_the_largest_index_of_a1a() {
    let (Some(w8a), Some(a1a)) = (present("libsvm/w8a"), present("libsvm/a1a")) else { return };
    let data = read(&w8a, &Reading::default()).unwrap();
    let rows = rows(&data);
    assert_eq!(rows.iter().flatten().filter(|&&value| value != 0.0).count(), 579_586);
    assert_eq!(rows.iter().filter(|row| row.iter().all(|&value| value == 0.0)).count(), 4_203);
    let data = read(&a1a, &Reading::default()).unwrap();
    assert_eq!(data.width(), 119);
    assert!(has_note(&data, "119, is the largest index seen in the data"));
}

#[test]
fn image_files() {
    // Mean and standard deviation of the pixels in 0..1: 0.1307 and 0.3081, 0.2860 and 0.3530.
    for (folder, mean, deviation) in [("mnist", 0.1307, 0.3081), ("fashion-mnist", 0.2860, 0.3530)] {
        let Some(path) = present(&format!("{folder}/train-images-idx3-ubyte.gz")) else { continue };
        let train = read(&path, &Reading::default()).unwrap();
        assert_eq!((train.len(), train.shape(), train.classes().len()), (60_000, &[28, 28][..], 10));
        let rows = rows(&train);
        let count = (60_000 * 784) as f64;
        let sum: f64 = rows.iter().flatten().map(|&v| f64::from(v)).sum();
        let squares: f64 = rows.iter().flatten().map(|&v| f64::from(v) * f64::from(v)).sum();
        assert!((sum / count - mean).abs() < 5e-5, "{folder}: {}", sum / count);
        assert!(((squares / count - (sum / count).powi(2)).sqrt() - deviation).abs() < 5e-5);
        assert!(has_note(&train, "the fixed range of a byte"));
        let Some(path) = present(&format!("{folder}/t10k-images-idx3-ubyte.gz")) else { continue };
        let test = read_like(&path, None, train.schema()).unwrap();
        assert_eq!((test.len(), test.classes()), (10_000, train.classes()));
    }
    let Some(path) = present("mnist/t10k-images-idx3-ubyte.gz") else { return };
    let test = read(&path, &Reading::default()).unwrap();
    assert_eq!(test.labels()[..5], [7, 2, 1, 0, 4]);
    assert_eq!(counts(&test), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]);
    assert_eq!(test.name(), "t10k-images-idx3-ubyte");
}

/// SHA-256 of the files that UCI distributes.
#[test]
fn the_embedded_adult_files_are_the_original_ones() {
    let train = sha256(include_bytes!("../adult/adult.data.gz"));
    let test = sha256(include_bytes!("../adult/adult.test.gz"));
    assert_eq!(train, "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d");
    assert_eq!(test, "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05");
    assert!(ADULT_NOTICE.contains("Kohavi") && ADULT_NOTICE.contains("CC BY 4.0"));
}

/// Class counts: adult.names, 24.78 % and 23.93 % of the records without missing values and of all.
#[test]
fn embedded_adult() {
    let (train, test) = adult().unwrap();
    assert_eq!((train.name(), train.len(), counts(&train)), ("adult", 32_561, vec![24_720, 7_841]));
    assert_eq!((test.name(), test.len(), counts(&test)), ("adult-test", 16_281, vec![12_435, 3_846]));
    // Five numbers, and 8 workclasses, 7 marital states, 14 occupations, 6 relationships, 5 races, 2 sexes, 41 countries.
    assert_eq!(train.shape(), [5 + 8 + 7 + 14 + 6 + 5 + 2 + 41]);
    assert!(!has_note(&train, "not privatised") && !has_note(&train, "seen in the data"), "{:?}", train.notes());
    assert!(!has_note(&train, "used as they are"), "{:?}", train.notes());
    // 39, State-gov, Never-married, Adm-clerical, Not-in-family, White, Male, gain 2174, no loss, 40 hours, United-States.
    let names = train.schema().feature_names();
    let first = &rows(&train)[0];
    let set: Vec<(&str, f32)> =
        names.iter().map(String::as_str).zip(first.iter().copied()).filter(|(_, v)| *v != 0.0).collect();
    let expected = [
        ("age", 0.39),
        ("workclass=State-gov", 1.0),
        ("education-num", 12.0 / 15.0),
        ("marital-status=Never-married", 1.0),
        ("occupation=Adm-clerical", 1.0),
        ("relationship=Not-in-family", 1.0),
        ("race=White", 1.0),
        ("sex=Male", 1.0),
        ("capital-gain", 0.2174),
        ("hours-per-week", 0.4),
        ("native-country=United-States", 1.0),
    ];
    assert_eq!(set, expected);
    assert!(rows(&train).iter().flatten().all(|value| (0.0..=1.0).contains(value)));
}

#[test]
fn adult_from_its_files_is_the_embedded_one() {
    let (Some(data), Some(test)) = (present("uci/adult/adult.data"), present("uci/adult/adult.test")) else { return };
    let (embedded, embedded_test) = adult().unwrap();
    for on_disk in [false, true] {
        let train = read(&data, &Reading { on_disk, ..adult_reading() }).unwrap();
        // The embedded one also says how a range was chosen.
        let (chosen, notes) = embedded.notes().split_last().unwrap();
        assert!(chosen.contains("capital-gain") && chosen.contains("test part"), "{chosen}");
        assert_eq!((train.schema(), train.notes()), (embedded.schema(), notes));
        assert!(rows(&train) == rows(&embedded) && train.labels() == embedded.labels());
        let test = if on_disk {
            super::super::read_like_on_disk(&test, None, train.schema()).unwrap()
        } else {
            read_like(&test, None, train.schema()).unwrap()
        };
        assert!(rows(&test) == rows(&embedded_test) && test.labels() == embedded_test.labels());
        assert_eq!(train.bytes() <= 16 * train.len(), on_disk);
    }
}

/// A subset: train batches 1 and 2 of 5, and the first 1,000 test images. The first of batch 1 is a frog, of the test images a cat.
#[test]
fn cifar_10() {
    let Some(batch) = present("cifar-10/data_batch_1.bin.gz") else { return };
    let directory = batch.ancestors().nth(2).unwrap();
    let found = read_cifar10(directory, &Reading::default()).unwrap();
    assert_eq!((found.train.len(), found.train.shape()), (20_000, &[3, 32, 32][..]));
    assert!(has_note(&found.train, "2 of the 5 training files of CIFAR-10: data_batch_1.bin.gz, data_batch_2.bin.gz"));
    let (test, name) = found.test.unwrap();
    assert_eq!((test.len(), name.as_str()), (1_000, "test_batch_first1000.bin.gz"));
    let names: Vec<&str> = [found.train.labels()[0], test.labels()[0]]
        .iter()
        .map(|&label| test.classes()[label as usize].as_str())
        .collect();
    assert_eq!(names, ["frog", "cat"]);
    // 1,005 airplanes, 974 automobiles, ... are in batch 1.
    let first = read(&batch, &Reading { format: Some(Format::Cifar10), ..Reading::default() }).unwrap();
    assert_eq!(counts(&first), [1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981]);
    assert_eq!(first.name(), "data_batch_1");
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    first.gather(&[0], &mut pixels, &mut labels).unwrap();
    // Red, green and blue of the first pixel: 59, 62, 63.
    assert_eq!([pixels[0], pixels[1024], pixels[2048]], [59.0, 62.0, 63.0].map(|value: f32| value / 255.0));
}

#[test]
fn adult_with_rules_of_ones_own() {
    let (Some(train), Some(test)) = (present("uci/adult/adult.data"), present("uci/adult/adult.test")) else { return };
    let reading = Reading {
        columns: vec![
            ColumnRule::parse_numeric("1=0:120").unwrap(),
            ColumnRule::parse_categorical("10=Female|Male").unwrap(),
            ColumnRule::parse_ignored("4").unwrap(),
        ],
        ..Reading::default()
    };
    let data = read(&train, &reading).unwrap();
    assert_eq!((data.len(), data.classes()), (32_561, &strings(&["<=50K", ">50K"])[..]));
    assert_eq!(counts(&data), [24_720, 7_841]);
    // Six numbers, and categories as adult.names lists them: 8 workclasses, 7 marital states, 14 occupations,
    // 6 relationships, 5 races, 2 sexes, 41 countries; education, the fourth column, is ignored.
    assert_eq!(data.width(), 6 + 8 + 7 + 14 + 6 + 5 + 2 + 41);
    // The first record is 39 years old and male.
    let names = data.schema().feature_names();
    let male = names.iter().position(|name| name == "10=Male").unwrap();
    let first = &rows(&data)[0];
    assert_eq!((first[0], first[male], first[male - 1]), (39.0 / 120.0, 1.0, 0.0));
    assert!(has_note(&data, "the categories of columns 2, 6, 7, 8, 9, 14 were seen in the data"));
    assert!(has_note(&data, "missing values in columns 2, 7, 14 are none of the categories"));
    assert!(has_note(&data, "the 2 class labels (<=50K, >50K) were taken from the data"));
    assert!(has_note(&data, "the values of column 1 were scaled from the declared public range 0..120 to 0..1"));
    assert!(has_note(&data, "the values of columns 3, 5, 11, 12, 13 were used as they are"));

    let like = read_like(&test, None, data.schema()).unwrap();
    assert_eq!((like.len(), like.width(), counts(&like)), (16_281, data.width(), vec![12_435, 3_846]));
    assert!(has_note(&like, "full stop after the class label"));
    assert!(has_note(&like, "1 line(s) starting with `|`"));
}

#[test]
fn small_tables() {
    let reading = |skip_lines| Reading { skip_lines, ..Reading::default() };
    if let Some(path) = present("sklearn/iris.csv") {
        let data = read(&path, &reading(1)).unwrap();
        assert_eq!((data.len(), data.width(), counts(&data)), (150, 4, vec![50, 50, 50]));
        // Its first line, `150,4,setosa,versicolor,virginica`, is neither a header nor a record.
        let message = read(&path, &reading(0)).unwrap_err().to_string();
        assert!(message.contains("iris.csv:1, column 3: found `setosa`; expected a number"), "{message}");
        assert!(message.contains("--skip-lines"), "{message}");
    }
    if let Some(path) = present("sklearn/breast_cancer.csv") {
        let data = read(&path, &reading(1)).unwrap();
        assert_eq!((data.len(), data.width(), counts(&data)), (569, 30, vec![212, 357]));
    }
    if let Some(path) = present("sklearn/digits.csv.gz") {
        let data =
            read(&path, &Reading { header: Header::No, range: Some((0.0, 16.0)), ..Reading::default() }).unwrap();
        let (_, test) = optdigits().unwrap();
        assert_eq!((rows(&data), data.labels()), (rows(&test), test.labels()));
    }
}

/// Says so past the test harness, which keeps what a passing test prints to itself.
fn skipped(what: &str) {
    use std::io::Write;
    std::io::stderr().write_all(format!("SKIPPED: {what}\n").as_bytes()).unwrap();
}
