//! Files that are right.

mod common;

use bitquake_data::{DataConfig, DataFormat, Dataset, Layout, load, source_files, write_idx};
use common::{Folder, config, gzip, idx_bytes, npy_bytes, npy_of, write_npz};
use proptest::prelude::*;

#[test]
fn idx_plain_and_gzip_are_told_by_content() {
    let images = idx_bytes(0x0803, &[2, 2, 3], &[0, 1, 2, 3, 4, 5, 250, 251, 252, 253, 254, 255]);
    let labels = idx_bytes(0x0801, &[2], &[9, 0]);
    for (images, labels) in [(images.clone(), gzip(&labels)), (gzip(&images), labels)] {
        let data = Folder::with(&images, &labels).load(&config(DataFormat::Idx)).unwrap();
        assert_eq!(data.image_shape(), [1, 2, 3]);
        assert_eq!((data.len(), data.image_len(), data.classes()), (2, 6, 10));
        assert_eq!(data.images(0..1), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(data.images(1..2), [250.0, 251.0, 252.0, 253.0, 254.0, 255.0]);
        assert_eq!(data.images(2..2), [0.0; 0]);
        assert_eq!(data.labels(), [9, 0]);
    }
}

#[test]
fn write_idx_writes_what_load_reads() {
    let folder = Folder::new();
    let path = folder.path();
    write_idx(&path.join("images"), &[1, 3, 1, 2], &[1, 2, 3, 4, 5, 6]).unwrap();
    write_idx(&path.join("labels"), &[1], &[1]).unwrap();
    let data = folder.load(&config(DataFormat::Idx)).unwrap();
    assert_eq!(
        (data.image_shape(), data.images(0..1)),
        ([3, 1, 2].as_slice(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].as_slice())
    );
    for (dims, bytes) in [(&[][..], 1), (&[2, 2], 3), (&[1; 256], 1), (&[u32::MAX; 3], 0)] {
        let error = write_idx(&path.join("bad"), dims, &vec![0; bytes]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{dims:?}");
        assert!(!path.join("bad").exists());
    }
}

#[test]
fn plain_features_have_one_dimension() {
    let folder =
        Folder::with(&idx_bytes(0x0802, &[2, 3], &[1, 2, 3, 4, 5, 6]), &idx_bytes(0x0801, &[2], &[0, 1]));
    let data = folder.load(&config(DataFormat::Idx)).unwrap();
    assert_eq!((data.image_shape(), data.images(1..2)), ([3].as_slice(), [4.0, 5.0, 6.0].as_slice()));
}

#[test]
fn skip_and_limit_keep_a_part() {
    let folder = Folder::with(
        &idx_bytes(0x0803, &[3, 1, 2], &[7, 0, 8, 0, 9, 1]),
        &idx_bytes(0x0801, &[3], &[2, 1, 0]),
    );
    let part = |skip, limit| DataConfig { skip, limit, ..config(DataFormat::Idx) };
    for (skip, limit, pixels, labels) in [
        (1, None, &[8.0, 0.0, 9.0, 1.0][..], &[1, 0][..]),
        (1, Some(1), &[8.0, 0.0], &[1]),
        (2, Some(1), &[9.0, 1.0], &[0]),
    ] {
        let data = folder.load(&part(skip, limit)).unwrap();
        assert_eq!((data.images(0..labels.len()), data.labels()), (pixels, labels));
        let alone = bitquake_data::load_images(&part(skip, limit), folder.path()).unwrap();
        assert_eq!((alone.images(0..labels.len()), alone.labels().len()), (pixels, labels.len()));
    }
    for (skip, limit, message) in [
        (3, None, "data.skip is 3, but images holds only 3 images"),
        (u64::MAX, Some(1), "data.skip is 18446744073709551615, but images holds only 3 images"),
        (1, Some(3), "data.limit is 3, but images holds only 3 images, and the first 1 are skipped"),
    ] {
        assert_eq!(folder.error(&part(skip, limit)), message);
    }
}

#[test]
fn limit_keeps_the_first() {
    let folder =
        Folder::with(&idx_bytes(0x0803, &[3, 1, 1], &[7, 8, 9]), &idx_bytes(0x0801, &[3], &[2, 1, 0]));
    for limit in 1..=3 {
        let config = DataConfig { limit: Some(limit), ..config(DataFormat::Idx) };
        let data = folder.load(&config).unwrap();
        let n = limit as usize;
        assert_eq!((data.images(0..n), data.labels()), (&[7.0, 8.0, 9.0][..n], &[2, 1, 0][..n]));
    }
}

#[test]
fn npz_keys_and_a_second_archive_for_labels() {
    let folder = Folder::new();
    let images = npy_of("<f4", &[2, 1, 1, 2], [1.5_f32, -2.0, 0.25, 8.0].map(f32::to_le_bytes));
    let labels = npy_of("<i8", &[2], [3_i64, 1].map(i64::to_le_bytes));
    write_npz(&folder.path().join("images"), &[("images.npy", &images), ("labels.npy", &labels)]);
    write_npz(&folder.path().join("other"), &[("x_test.npy", &images), ("y_test", &labels)]);
    let default = config(DataFormat::Npz);
    let named = DataConfig {
        images: "other".into(),
        images_key: "x_test".to_owned(),
        labels_key: "y_test".to_owned(),
        ..default.clone()
    };
    let two = DataConfig { labels: Some("other".into()), labels_key: "y_test".to_owned(), ..default.clone() };
    for config in [default, named, two] {
        let data = folder.load(&config).unwrap();
        assert_eq!(
            (data.images(0..2), data.labels()),
            ([1.5, -2.0, 0.25, 8.0].as_slice(), [3, 1].as_slice())
        );
    }
}

#[test]
fn every_image_type_is_read_in_both_byte_orders() {
    fn both<const N: usize>(name: &str, words: [[u8; N]; 2]) -> [(String, Vec<u8>); 2] {
        let big = words.map(|mut word| {
            word.reverse();
            word
        });
        [(format!("<{name}"), words.concat()), (format!(">{name}"), big.concat())]
    }
    let cases = [
        (both("u1", [[3], [200]]), [3.0, 200.0]),
        (both("i1", [[3], [0xfe]]), [3.0, -2.0]),
        (both("u2", [300_u16, 65535].map(u16::to_le_bytes)), [300.0, 65535.0]),
        (both("i2", [300_i16, -300].map(i16::to_le_bytes)), [300.0, -300.0]),
        (both("f2", [0x3c00_u16, 0xc100].map(u16::to_le_bytes)), [1.0, -2.5]),
        (both("f4", [0.1_f32, -1e-40].map(f32::to_le_bytes)), [0.1, -1e-40]),
        (both("f8", [0.1_f64, 16777217.0].map(f64::to_le_bytes)), [0.1, 16777216.0]),
    ];
    let labels = npy_bytes("|u1", false, &[2, 1], &[0, 1]);
    for (files, values) in cases {
        for (descr, bytes) in files {
            let folder = Folder::with(&npy_bytes(&descr, false, &[2, 1], &bytes), &gzip(&labels));
            let data = folder.load(&config(DataFormat::Npy)).unwrap();
            assert_eq!(
                (data.image_shape(), data.images(0..2)),
                ([1].as_slice(), values.as_slice()),
                "{descr}"
            );
        }
    }
}

#[test]
fn every_whole_number_type_makes_labels() {
    let images = npy_bytes("|u1", false, &[3, 1], &[0, 0, 0]);
    let files = [
        npy_of("|u1", &[3], [[5], [0], [7]]),
        npy_of("|i1", &[3], [[5], [0], [7]]),
        npy_of("<u2", &[3], [5_u16, 0, 7].map(u16::to_le_bytes)),
        npy_of(">i2", &[3], [5_i16, 0, 7].map(i16::to_be_bytes)),
        npy_of("<u4", &[3], [5_u32, 0, 7].map(u32::to_le_bytes)),
        npy_of(">i4", &[3, 1], [5_i32, 0, 7].map(i32::to_be_bytes)),
        npy_of("<u8", &[3], [5_u64, 0, 7].map(u64::to_le_bytes)),
        npy_of("<i8", &[3], [5_i64, 0, 7].map(i64::to_le_bytes)),
        npy_bytes("<i4", true, &[3], &[5_i32, 0, 7].map(i32::to_le_bytes).concat()),
    ];
    for labels in files {
        let data = Folder::with(&images, &labels).load(&config(DataFormat::Npy)).unwrap();
        assert_eq!((data.labels(), data.classes()), ([5, 0, 7].as_slice(), 8));
    }
}

#[test]
fn many_labels_are_read_in_blocks() {
    let n = 150_001;
    let labels: Vec<u8> = (0..n as u32).flat_map(u32::to_le_bytes).collect();
    let folder =
        Folder::with(&npy_bytes("|u1", false, &[n, 1], &vec![1; n]), &npy_bytes("<u4", false, &[n], &labels));
    let data = folder.load(&config(DataFormat::Npy)).unwrap();
    assert!(data.labels().iter().copied().eq(0..n as u32));
}

#[test]
fn preprocessing_divides_and_rounds_at_each_step() {
    let bytes: Vec<u8> = (0..=255).collect();
    let folder = Folder::with(&idx_bytes(0x0804, &[1, 2, 8, 16], &bytes), &idx_bytes(0x0801, &[1], &[0]));
    let mut config = config(DataFormat::Idx);
    config.preprocess.scale = 255.0;
    config.preprocess.mean = vec![0.286, 0.5];
    config.preprocess.std = vec![0.353];
    let data = folder.load(&config).unwrap();
    for (i, &value) in data.images(0..1).iter().enumerate() {
        let scaled = i as f32 / 255.0_f32;
        let centred = scaled - if i < 128 { 0.286_f32 } else { 0.5 };
        assert_eq!(value.to_bits(), (centred / 0.353_f32).to_bits(), "{i}");
    }
    let reciprocal = |i: f32| (i * (1.0 / 255.0_f32) - 0.286) * (1.0 / 0.353_f32);
    assert!((0..128).any(|i| data.images(0..1)[i] != reciprocal(i as f32)), "else this test shows nothing");
}

#[test]
fn channels_keep_their_mean_in_both_layouts() {
    let mut config = config(DataFormat::Idx);
    config.preprocess.mean = vec![10.0, 20.0, 30.0];
    config.preprocess.std = vec![1.0, 2.0, 4.0];
    let labels = idx_bytes(0x0801, &[1], &[0]);
    let nchw = Folder::with(&idx_bytes(0x0804, &[1, 3, 1, 2], &[11, 12, 22, 24, 34, 38]), &labels);
    let expected = nchw.load(&config).unwrap();
    assert_eq!(expected.images(0..1), [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
    config.preprocess.layout = Layout::Nhwc;
    let nhwc = Folder::with(&idx_bytes(0x0804, &[1, 1, 2, 3], &[11, 22, 34, 12, 24, 38]), &labels);
    assert_eq!(nhwc.load(&config).unwrap(), expected);
}

#[test]
fn a_data_set_can_be_made_and_is_checked() {
    for (values, shape, labels) in
        [(0, vec![1], 0), (3, vec![2], 2), (0, vec![0], 2), (4, vec![usize::MAX, 4], 1)]
    {
        let error = Dataset::new(vec![0.0; values], shape, vec![0; labels]).unwrap_err().to_string();
        assert!(error.contains("do not make"), "{error}");
    }
    let data = Dataset::new(vec![0.0; 3], vec![1], vec![0, 4, 2]).unwrap();
    assert!(data.check_labels(5).is_ok());
    for (classes, index, label) in [(4, 1, 4), (1, 1, 4), (0, 0, 0)] {
        let error = data.check_labels(classes).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("image {index} has label {label}, but there are {classes} classes")),
            "{error}"
        );
    }
    assert_eq!(Dataset::new(vec![0.0], vec![], vec![u32::MAX]).unwrap().classes(), 1 << 32);
}

#[test]
fn source_files_are_listed_once() {
    let base = std::path::Path::new("/base");
    let mut config = DataConfig::new(DataFormat::Idx, "a", Some("/b".into()));
    assert_eq!(source_files(&config, base).unwrap(), ["/base/a", "/b"].map(std::path::PathBuf::from));
    config.labels = Some("a".into());
    assert_eq!(source_files(&config, base).unwrap(), [std::path::PathBuf::from("/base/a")]);
    config.labels = None;
    assert_eq!(source_files(&config, base).unwrap(), [std::path::PathBuf::from("/base/a")]);
}

/// The Debian package `dataset-fashion-mnist`, when it is installed.
#[test]
fn fashion_mnist_is_as_published() {
    let base = std::path::Path::new("/usr/share/datasets/fashion-mnist");
    if !base.exists() {
        return;
    }
    let labels = Some("t10k-labels-idx1-ubyte.gz".into());
    let mut config = DataConfig::new(DataFormat::Idx, "t10k-images-idx3-ubyte.gz", labels);
    config.preprocess.scale = 255.0;
    let data = load(&config, base).unwrap();
    assert_eq!((data.len(), data.image_shape(), data.classes()), (10_000, [1, 28, 28].as_slice(), 10));
    for class in 0..10 {
        assert_eq!(data.labels().iter().filter(|&&label| label == class).count(), 1000);
    }
    let mean = data.images(0..10_000).iter().map(|&x| f64::from(x)).sum::<f64>() / 7.84e6;
    assert!((mean - 0.2868).abs() < 1e-4, "{mean}");
}

/// An array of any stored order: its bytes, and the element that should end up at (image, channel, pixel).
fn stored(shape: &[usize], is_fortran: bool) -> (Vec<u8>, impl Fn(&[usize]) -> usize) {
    let mut strides = vec![1; shape.len()];
    let axes: Vec<usize> =
        if is_fortran { (0..shape.len()).collect() } else { (0..shape.len()).rev().collect() };
    for pair in axes.windows(2) {
        strides[pair[1]] = strides[pair[0]] * shape[pair[0]];
    }
    let bytes = (0..shape.iter().product::<usize>() as u16).flat_map(u16::to_le_bytes).collect();
    (bytes, move |index: &[usize]| index.iter().zip(&strides).map(|(i, stride)| i * stride).sum())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_layout_and_order_gives_the_same_images(
        n in 1_usize..5, c in 1_usize..5, h in 1_usize..5, w in 1_usize..5,
        is_fortran: bool, is_nhwc: bool, limit in 1_u64..5,
    ) {
        let shape = if is_nhwc { [n, h, w, c] } else { [n, c, h, w] };
        let (bytes, position) = stored(&shape, is_fortran);
        let folder = Folder::with(&npy_bytes("<u2", is_fortran, &shape, &bytes), &npy_bytes("|u1", false, &[n], &vec![1; n]));
        let mut config = config(DataFormat::Npy);
        config.preprocess.layout = if is_nhwc { Layout::Nhwc } else { Layout::Nchw };
        config.limit = Some(limit.min(n as u64));
        let data = folder.load(&config).unwrap();
        prop_assert_eq!(data.image_shape(), [c, h, w]);
        for image in 0..data.len() {
            let values = data.images(image..image + 1);
            for (i, &value) in values.iter().enumerate() {
                let (channel, row, column) = (i / (h * w), i / w % h, i % w);
                let index = if is_nhwc { [image, row, column, channel] } else { [image, channel, row, column] };
                prop_assert_eq!(value, position(&index) as f32);
            }
        }
    }

    #[test]
    fn grey_images_and_features_in_fortran_order(n in 1_usize..5, h in 1_usize..5, w in 1_usize..5, is_flat: bool) {
        let shape = if is_flat { vec![n, h] } else { vec![n, h, w] };
        let (bytes, position) = stored(&shape, true);
        let folder = Folder::with(&npy_bytes("<u2", true, &shape, &bytes), &npy_bytes("|u1", false, &[n], &vec![1; n]));
        let data = folder.load(&config(DataFormat::Npy)).unwrap();
        for (i, &value) in data.images(0..n).iter().enumerate() {
            let index = if is_flat { vec![i / h, i % h] } else { vec![i / (h * w), i / w % h, i % w] };
            prop_assert_eq!(value, position(&index) as f32);
        }
    }

    #[test]
    fn idx_round_trip(n in 1_u32..20, h in 1_u32..6, w in 1_u32..6, seed: u8) {
        let byte = |i: u32| (i as u8).wrapping_mul(37).wrapping_add(seed);
        let pixels: Vec<u8> = (0..n * h * w).map(byte).collect();
        let labels: Vec<u8> = (0..n).map(byte).collect();
        let folder = Folder::new();
        write_idx(&folder.path().join("images"), &[n, h, w], &pixels).unwrap();
        write_idx(&folder.path().join("labels"), &[n], &labels).unwrap();
        let data = folder.load(&config(DataFormat::Idx)).unwrap();
        prop_assert!(data.images(0..n as usize).iter().copied().eq(pixels.into_iter().map(f32::from)));
        prop_assert!(data.labels().iter().copied().eq(labels.into_iter().map(u32::from)));
    }
}
