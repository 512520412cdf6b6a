//! IDX files: element types, labels, and headers that promise too much.

use super::*;

fn idx(code: u8, lengths: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, code, lengths.len() as u8];
    lengths.iter().for_each(|length| file.extend(length.to_be_bytes()));
    file.extend(elements);
    file
}

/// Writes images and labels beside each other.
fn pair(images: Vec<u8>, labels: Vec<u8>) -> (Files, PathBuf) {
    let files = Files::new();
    files.write("a-labels-idx1-ubyte", labels);
    let path = files.write("a-images-idx3-ubyte", images);
    (files, path)
}

fn message(images: Vec<u8>, labels: Vec<u8>) -> String {
    let (files, path) = pair(images, labels);
    without_directory(&files, &read(&path, &Reading::default()).unwrap_err().to_string())
}

fn labels() -> Vec<u8> {
    idx(8, &[2], &[0, 1])
}

#[test]
fn every_element_type() {
    let (a, b) = (-2.0f64, 1.0f64);
    let files: [(u8, Vec<u8>); 5] = [
        (0x09, vec![-2i8 as u8, 1]),
        (0x0b, [-2i16, 1].iter().flat_map(|v| v.to_be_bytes()).collect()),
        (0x0c, [-2i32, 1].iter().flat_map(|v| v.to_be_bytes()).collect()),
        (0x0d, [a as f32, b as f32].iter().flat_map(|v| v.to_be_bytes()).collect()),
        (0x0e, [a, b].iter().flat_map(|v| v.to_be_bytes()).collect()),
    ];
    for (code, elements) in files {
        let (_files, path) = pair(idx(code, &[2, 1], &elements), labels());
        let data = read(&path, &Reading::default()).unwrap();
        assert_eq!(rows(&data), [[-2.0], [1.0]], "{code:#x}");
        assert!(has_note(&data, "used as they are"));
        let scaled = read(&path, &Reading { range: Some((-2.0, 2.0)), ..Reading::default() }).unwrap();
        assert_eq!(rows(&scaled), [[0.0], [0.75]], "{code:#x}");
    }
}

#[test]
fn bytes_are_scaled_by_their_own_range_unless_another_is_declared() {
    let (_files, path) = pair(idx(8, &[2, 1, 2], &[0, 255, 51, 16]), labels());
    let data = read(&path, &Reading::default()).unwrap();
    assert_eq!(rows(&data), [[0.0, 1.0], [0.2, 16.0 / 255.0]]);
    assert_eq!(data.shape(), [1, 2]);
    let data = read(&path, &Reading { range: Some((0.0, 16.0)), shape: Some(vec![2]), ..Reading::default() }).unwrap();
    assert_eq!((rows(&data), data.shape()), (vec![vec![0.0, 1.0], vec![1.0, 1.0]], &[2][..]));
    assert!(has_note(&data, "the declared public range 0..16"));
}

#[test]
fn labels_are_found_beside_the_images_or_where_they_are_said_to_be() {
    let files = Files::new();
    let images = files.write("t10k-images.idx3-ubyte", idx(8, &[2, 1], &[1, 2]));
    let error = without_directory(&files, &read(&images, &Reading::default()).unwrap_err().to_string());
    assert_eq!(
        error,
        "t10k-images.idx3-ubyte: found neither t10k-labels.idx1-ubyte nor t10k-labels.idx1-ubyte.gz beside it; \
         expected its label file, given with --labels FILE"
    );
    files.write("t10k-labels.idx1-ubyte.gz", gzip(&idx(0x0c, &[2], &[0, 0, 0, 9, 255, 255, 255, 255])));
    let data = read(&images, &Reading::default()).unwrap();
    assert_eq!((data.classes(), data.labels()), (&strings(&["-1", "9"])[..], &[1, 0][..]));
    let other = files.write("other", labels());
    let data = read(&images, &Reading { labels: Some(other.clone()), ..Reading::default() }).unwrap();
    assert_eq!(data.labels(), [0, 1]);
    let plain = files.write("x", idx(8, &[2, 1], &[1, 2]));
    assert!(read(&plain, &Reading::default()).unwrap_err().to_string().contains("no `images` in the file's name"));
    let like = read_like(&plain, Some(&other), data.schema()).unwrap();
    assert_eq!(rows(&like), rows(&data));
}

#[test]
fn what_is_refused() {
    let images = |bytes: &[u8]| idx(8, &[2, 2], bytes);
    for (found, expected) in [
        (
            message(images(&[0; 3]), labels()),
            "images-idx3-ubyte: found 3 bytes of elements; expected 4, as the dimensions [2, 2] of u8 say",
        ),
        (message(images(&[0; 5]), labels()), "images-idx3-ubyte: found more than 4 bytes of elements; expected 4, as"),
        (message(images(&[0; 4]), idx(8, &[3], &[0, 1, 0])), "labels-idx1-ubyte: found 3 labels; expected 2, as"),
        (
            message(images(&[0; 4]), idx(0x0d, &[2], &[0; 8])),
            "labels-idx1-ubyte: found labels of type f32; expected integers",
        ),
        (
            message(images(&[0; 4]), idx(8, &[2, 2], &[0; 4])),
            "found the dimensions [2, 2]; expected one label for each",
        ),
        (message(images(&[0; 4]), idx(8, &[2], &[3, 3])), "found 1 class; expected at least two classes"),
        (message(idx(7, &[2, 2], &[0; 4]), labels()), "found the element type 0x07; expected 08 (u8)"),
        (message(vec![0, 0, 8, 0], labels()), "found an array without dimensions"),
        (message(vec![0, 0, 8], labels()), "found a file that ends in its header"),
        (message(vec![0, 0, 8, 2, 0, 0], labels()), "found a file that ends in its header"),
        (message(idx(8, &[0, 2], &[]), idx(8, &[0], &[])), "found no records; expected at least one record"),
        (message(idx(8, &[2, 0], &[]), labels()), "found no features; expected at least one feature"),
        (message(idx(0x0e, &[u32::MAX; 3], &[0; 64]), labels()), "found the dimensions [4294967295"),
        (
            message(idx(8, &[u32::MAX; 2], &[0; 64]), labels()),
            "found 64 bytes of elements; expected 18446744065119617025",
        ),
    ] {
        assert!(found.contains(expected), "{found}");
    }
    let nan: Vec<u8> = [1.0f32, 2.0, f32::NAN, 3.0].iter().flat_map(|v| v.to_be_bytes()).collect();
    let found = message(idx(0x0d, &[2, 2], &nan), labels());
    assert!(found.contains("found NaN as value 1 of record 2; expected a finite number"), "{found}");
}

#[test]
fn a_second_file_must_have_the_same_elements_width_and_classes() {
    let (_files, path) = pair(idx(8, &[2, 2], &[0; 4]), labels());
    let schema = read(&path, &Reading::default()).unwrap().schema().clone();
    let like = |images: Vec<u8>, labels: Vec<u8>| {
        let (_files, path) = pair(images, labels);
        read_like(&path, None, &schema).unwrap_err().to_string()
    };
    assert!(
        like(idx(9, &[2, 2], &[0; 4]), labels()).contains("found elements of type i8; expected u8, as in the training")
    );
    assert!(like(idx(8, &[2, 3], &[0; 6]), labels()).contains("found records of 3 values, [3]; expected records of 2"));
    let other = like(idx(8, &[2, 2], &[0; 4]), idx(8, &[2], &[0, 7]));
    assert!(other.contains("found the label 7 for record 2; expected one of the classes 0, 1"), "{other}");
}
