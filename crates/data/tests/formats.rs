//! CIFAR records, image folders, HDF5 and safetensors: read right, and refused with the place when they are wrong.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use bitquake_data::{
    DataConfig, DataFormat, Dataset, Layout, Part, PartName, Parts, SplitConfig, load, load_images,
    load_scaled, source_digests, source_files,
};
use bitquake_testing::{SplitMix64, mutated};
use common::{Folder, config, gzip, idx_bytes};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// A record of CIFAR: its labels, and bytes counted up from `start`.
fn record(labels: &[u8], start: u8) -> Vec<u8> {
    labels.iter().copied().chain((0..3072_u32).map(|i| start.wrapping_add(i as u8))).collect()
}

fn cifar(labels_key: &str) -> DataConfig {
    let mut config = DataConfig::new(DataFormat::CifarBinary, "images", None);
    config.labels_key = labels_key.to_owned();
    config
}

#[test]
fn cifar_10_records_in_two_files() {
    let folder = Folder::new();
    folder.write("images", &[record(&[3], 0), record(&[9], 5)].concat());
    folder.write("second", &gzip(&record(&[0], 9)));
    let mut config = cifar("labels");
    config.more = vec!["second".into()];
    config.preprocess.scale = 255.0;
    config.preprocess.mean = vec![0.1, 0.2, 0.3];
    let data = folder.load(&config).unwrap();
    assert_eq!((data.image_shape(), data.labels()), (&[3, 32, 32][..], &[3, 9, 0][..]));
    for (image, start) in [0_u8, 5, 9].into_iter().enumerate() {
        for (i, &value) in data.images(image..image + 1).iter().enumerate() {
            let byte = start.wrapping_add(i as u8);
            assert_eq!(value, f32::from(byte) / 255.0 - [0.1, 0.2, 0.3][i / 1024]);
        }
    }
    config.limit = Some(1);
    let limited = folder.load(&config).unwrap();
    assert_eq!((limited.len(), limited.images(0..1)), (1, data.images(0..1)));
    assert_eq!(load_images(&config, folder.path()).unwrap().labels(), [0]);
    let files = source_files(&config, folder.path()).unwrap();
    assert_eq!(files, ["images", "second"].map(|name| folder.path().join(name)));
}

#[test]
fn cifar_100_has_two_labels() {
    let folder = Folder::new();
    folder.write("images", &[record(&[19, 99], 0), record(&[0, 7], 5)].concat());
    assert_eq!(folder.load(&cifar("fine")).unwrap().labels(), [99, 7]);
    let coarse = folder.load(&cifar("coarse")).unwrap();
    assert_eq!((coarse.labels(), coarse.images(1..2)[0]), (&[19, 0][..], 5.0));
}

#[test]
fn wrong_cifar_files_say_what_is_wrong() {
    let ten = record(&[3], 0);
    let hundred = record(&[3, 50], 0);
    let cases: [(Vec<u8>, &str, &str); 8] = [
        (vec![], "labels", "images is empty"),
        (ten[..100].to_vec(), "labels", "images is cut short: record 0 has 3073 bytes, and 100 are there"),
        (
            [&ten[..], &ten[..5]].concat(),
            "labels",
            "images is cut short: record 1 has 3073 bytes, and 5 are there",
        ),
        (
            gzip(&[&ten[..], &ten[..5]].concat()),
            "labels",
            "images is cut short: record 1 has 3073 bytes, and 5 are there",
        ),
        (record(&[10], 0), "labels", "images has label 10 in record 0; CIFAR-10 has labels from 0 to 9"),
        (
            [hundred, record(&[3, 100], 0)].concat(),
            "fine",
            "images has label 100 in record 1; fine CIFAR-100 has labels from 0 to 99",
        ),
        (
            record(&[20, 0], 0),
            "coarse",
            "images has label 20 in record 0; coarse CIFAR-100 has labels from 0 to 19",
        ),
        (ten, "fin", "data.labels_key is `fin`; of format cifar-binary it is `labels` (CIFAR-10), or `fine`"),
    ];
    let folder = Folder::new();
    for (bytes, labels_key, message) in cases {
        folder.write("images", &bytes);
        let error = folder.error(&cifar(labels_key));
        assert!(error.starts_with(message), "{error}\nshould start with\n{message}");
    }
    folder.write("images", &record(&[3], 0));
    folder.write("two", &[record(&[3], 0), record(&[4], 9)].concat());
    let second = DataConfig { images: "two".into(), skip: 1, ..cifar("labels") };
    assert_eq!(folder.load(&second).unwrap().labels(), [4]);
    let limited = DataConfig { limit: Some(2), ..cifar("labels") };
    assert_eq!(folder.error(&limited), "data.limit is 2, but images holds only 1 images");
    let with_labels = DataConfig { labels: Some("x".into()), ..cifar("labels") };
    assert_eq!(folder.error(&with_labels), "data.labels has no meaning for format cifar-binary");
    let mut with_layout = cifar("labels");
    with_layout.preprocess.layout = Layout::Nhwc;
    assert_eq!(folder.error(&with_layout), "data.preprocess.layout has no meaning for format cifar-binary");
}

#[test]
fn hdf5_and_safetensors_hold_the_same_images() {
    let mut config = DataConfig::new(DataFormat::Safetensors, "images.safetensors", None);
    let tensors = load(&config, &fixtures()).unwrap();
    assert_eq!((tensors.image_shape(), tensors.labels()), (&[3, 2, 3][..], &[4, 1][..]));
    // Stored as N, H, W, C: pixel p of channel c is value 3 p + c.
    for (i, &value) in tensors.images(0..2).iter().enumerate() {
        let (image, channel, pixel) = (i / 18, i % 18 / 6, i % 6);
        assert_eq!(value, (18 * image + 3 * pixel + channel) as f32 / 64.0);
    }
    config = DataConfig::new(DataFormat::Hdf5, "images.h5", None);
    config.preprocess.layout = Layout::Nhwc;
    assert_eq!(load(&config, &fixtures()).unwrap(), tensors);
    config.labels = Some("images.h5".into());
    config.limit = Some(1);
    let first = load(&config, &fixtures()).unwrap();
    assert_eq!((first.labels(), first.images(0..1)), (&[4][..], tensors.images(0..1)));
    assert_eq!(load_images(&config, &fixtures()).unwrap().labels(), [0]);
}

#[test]
fn wrong_tensor_files_say_what_is_wrong() {
    let error = |config: &DataConfig| {
        let error = load(config, &fixtures()).unwrap_err();
        assert!(!error.is_configuration());
        error.to_string().replace(&format!("{}/", fixtures().display()), "")
    };
    let named = |format, file: &str, images_key: &str, labels_key: &str| {
        let mut config = DataConfig::new(format, file, None);
        (config.images_key, config.labels_key) = (images_key.to_owned(), labels_key.to_owned());
        config
    };
    let (hdf5, safetensors) = (DataFormat::Hdf5, DataFormat::Safetensors);
    let cases = [
        (named(hdf5, "images.h5", "x", "labels"), "images.h5 has no array `x`; it has: images, labels"),
        (
            named(hdf5, "images.h5", "images", "images"),
            "images.h5[images] has elements of type `f4`; labels need a whole number type",
        ),
        (
            named(hdf5, "images.h5", "labels", "labels"),
            "images.h5[labels] has elements of type `i8`; images need one of",
        ),
        (
            named(safetensors, "images.h5", "images", "labels"),
            "images.h5 is a file of kind hdf5, and data.format is safetensors",
        ),
        (
            named(hdf5, "images.safetensors", "images", "labels"),
            "images.safetensors is a file of kind safetensors, and data.format is hdf5",
        ),
        (named(hdf5, "nothing", "images", "labels"), "cannot read nothing"),
        (named(hdf5, "folder", "images", "labels"), "cannot read folder"),
        (
            named(hdf5, "augment_oracles.json", "images", "labels"),
            "augment_oracles.json is text: not a tensor file that bitquake reads",
        ),
    ];
    for (config, message) in cases {
        let error = error(&config);
        assert!(error.starts_with(message), "{error}\nshould start with\n{message}");
    }
}

/// Bits flipped, bytes cut, repeated and inserted: an error or data, and no panic.
#[test]
fn damaged_files_never_panic() {
    let folder = Folder::new();
    let mut random = SplitMix64::new(5);
    let cases = [
        (DataFormat::Hdf5, fs::read(fixtures().join("images.h5")).unwrap()),
        (DataFormat::Safetensors, fs::read(fixtures().join("images.safetensors")).unwrap()),
        (DataFormat::CifarBinary, record(&[3], 0)),
    ];
    for (format, bytes) in cases {
        let config = DataConfig::new(format, "images", None);
        let (mut loaded, mut refused) = (0, 0);
        for _ in 0..200 {
            folder.write("images", &mutated(&bytes, b"", &mut random));
            match folder.load(&config) {
                Ok(data) => {
                    loaded += 1;
                    assert_eq!(data.images(0..data.len()).len(), data.len() * data.image_len());
                }
                Err(error) => {
                    refused += 1;
                    assert!(!error.is_configuration(), "{error}");
                }
            }
        }
        assert!(refused > 10 && loaded > 0, "{format}: {loaded} loaded, {refused} refused");
    }
}

/// Copies fixtures into an image folder.
fn image_folder(files: &[(&str, &str)]) -> Folder {
    let folder = Folder::new();
    for (from, to) in files {
        let to = folder.path().join("images").join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(fixtures().join(from), to).unwrap();
    }
    folder
}

fn folder_config() -> DataConfig {
    DataConfig::new(DataFormat::ImageFolder, "images", None)
}

#[test]
fn image_folders_number_classes_by_name() {
    let mut config = DataConfig::new(DataFormat::ImageFolder, "folder", None);
    let data = load(&config, &fixtures()).unwrap();
    assert_eq!((data.image_shape(), data.labels()), (&[3, 4, 3][..], &[0, 0, 1][..]));
    for (image, colour) in [[10.0, 20.0, 30.0], [128.0; 3], [200.0, 100.0, 50.0]].into_iter().enumerate() {
        for (plane, level) in data.images(image..image + 1).chunks(12).zip(colour) {
            assert_eq!(plane, [level; 12], "image {image}");
        }
    }
    config.limit = Some(2);
    assert_eq!(load(&config, &fixtures()).unwrap().labels(), [0, 0]);
    (config.limit, config.channels) = (None, Some(1));
    let grey = load(&config, &fixtures()).unwrap();
    // 0.2125 * 10 + 0.7154 * 20 + 0.0721 * 30 = 18.6
    assert_eq!(
        (grey.image_shape(), grey.images(0..1)[0], grey.images(1..2)[0]),
        (&[1, 4, 3][..], 19.0, 128.0)
    );
    config.resize = Some([2, 5]);
    let small = load(&config, &fixtures()).unwrap();
    assert_eq!((small.image_shape(), small.images(0..1)), (&[1, 2, 5][..], &[19.0; 10][..]));
}

#[test]
fn unlike_images_are_refused_or_made_alike() {
    let folder = image_folder(&[
        ("folder/a/1.png", "a/1.png"),
        ("odd/grey.png", "b/1.PNG"),
        ("odd/large.png", "b/2.png"),
    ]);
    let mut config = folder_config();
    assert_eq!(
        folder.error(&config),
        "images/b/1.PNG is [4, 3, 1] (height, width, channels), but images/a/1.png is [4, 3, 3]; data.resize and data.channels make them alike"
    );
    config.channels = Some(3);
    let message = "images/b/2.png is [6, 8, 3] (height, width, channels), but images/a/1.png is [4, 3, 3];";
    assert!(folder.error(&config).starts_with(message), "{}", folder.error(&config));
    config.resize = Some([5, 5]);
    let data = folder.load(&config).unwrap();
    assert_eq!((data.image_shape(), data.labels()), (&[3, 5, 5][..], &[0, 1, 1][..]));
    assert_eq!(data.images(1..2), [77.0; 75]);
}

#[test]
fn wrong_image_folders_say_what_is_wrong() {
    type Edit<'a> = &'a dyn Fn(&Path);
    let cut = |images: &Path| {
        let bytes = fs::read(images.join("a/1.png")).unwrap();
        fs::write(images.join("a/1.png"), &bytes[..50]).unwrap();
    };
    let cases: [(Edit<'_>, &str); 12] = [
        (&|images| fs::remove_dir_all(images).unwrap(), "cannot open images: No such file"),
        (
            &|images| fs::remove_dir_all(images.join("a")).unwrap(),
            "images: this image folder has no classes, which are folders in it",
        ),
        (&|images| fs::create_dir(images.join("b")).unwrap(), "images/b: this class has no images"),
        (
            &|images| fs::write(images.join("readme.txt"), "x").unwrap(),
            "images/readme.txt: an image folder holds folders, one for each class, and this is none",
        ),
        (
            &|images| fs::write(images.join("a/labels.csv"), "x").unwrap(),
            "images/a/labels.csv: the folder of a class holds .png, .jpg and .jpeg files, and this is none",
        ),
        (
            &|images| fs::create_dir(images.join("a/b.png")).unwrap(),
            "images/a/b.png: the folder of a class holds .png, .jpg and .jpeg files, and this is none",
        ),
        (&cut, "images/a/1.png is no PNG or JPEG image that can be read: "),
        (
            &|images| fs::write(images.join("a/1.png"), "").unwrap(),
            "images/a/1.png is no PNG or JPEG image that can be read: ",
        ),
        (
            &|images| fs::write(images.join("a/1.png"), "GIF89a......").unwrap(),
            "images/a/1.png is no PNG or JPEG image that can be read: ",
        ),
        (
            &|images| {
                let bytes = fs::read(fixtures().join("folder/a/2.jpg")).unwrap();
                fs::write(images.join("a/1.png"), &bytes[..bytes.len() - 9]).unwrap();
            },
            "images/a/1.png is no PNG or JPEG image that can be read: it does not end with the mark of an end",
        ),
        (
            &|images| {
                fs::copy(fixtures().join("odd/alpha.png"), images.join("a/1.png")).unwrap();
            },
            "images/a/1.png has pixels of kind Rgba8; images are grey or RGB, 8 bits a channel, without transparency",
        ),
        (
            &|images| {
                fs::copy(fixtures().join("odd/deep.png"), images.join("a/1.png")).unwrap();
            },
            "images/a/1.png has pixels of kind L16; images are grey or RGB",
        ),
    ];
    for (edit, message) in cases {
        let folder = image_folder(&[("folder/a/1.png", "a/1.png")]);
        fs::write(folder.path().join("images/.hidden"), "x").unwrap();
        folder.load(&folder_config()).unwrap();
        edit(&folder.path().join("images"));
        let error = folder.error(&folder_config());
        assert!(error.starts_with(message), "{error}\nshould start with\n{message}");
    }
}

/// A PNG whose header declares 2^31 - 1 pixels a side, or 16,384, with nothing behind: no memory is taken.
#[test]
fn image_headers_that_lie_do_not_exhaust_memory() {
    let folder = image_folder(&[("odd/large.png", "a/1.png")]);
    let file = folder.path().join("images/a/1.png");
    let good = fs::read(&file).unwrap();
    for side in [i32::MAX as u32, 16_384, 16_385] {
        let mut bytes = good.clone();
        // IHDR: width and height stand at bytes 16 and 20, its checksum at 29 (PNG specification, 11.2.1).
        bytes[16..20].copy_from_slice(&side.to_be_bytes());
        bytes[20..24].copy_from_slice(&side.to_be_bytes());
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[12..29]);
        bytes[29..33].copy_from_slice(&crc.sum().to_be_bytes());
        fs::write(&file, bytes).unwrap();
        let error = folder.error(&folder_config());
        assert!(error.starts_with("images/a/1.png is no PNG or JPEG image that can be read: "), "{error}");
    }
}

#[test]
fn image_folder_keys_are_checked() {
    let folder = image_folder(&[("folder/a/1.png", "a/1.png")]);
    let cases = [
        (
            DataConfig { resize: Some([0, 4]), ..folder_config() },
            "data.resize is [0, 4]; it is [height, width], each",
        ),
        (
            DataConfig { resize: Some([4, 20_000]), ..folder_config() },
            "data.resize is [4, 20000]; it is [height, width]",
        ),
        (
            DataConfig { channels: Some(2), ..folder_config() },
            "data.channels is 2; it must be 1 (grey) or 3 (RGB)",
        ),
        (DataConfig { limit: Some(2), ..folder_config() }, "data.limit is 2, but images holds only 1 images"),
        (
            DataConfig { labels: Some("x".into()), ..folder_config() },
            "data.labels has no meaning for format image-folder",
        ),
    ];
    for (config, message) in cases {
        assert!(folder.load(&config).unwrap_err().is_configuration());
        let error = folder.error(&config);
        assert!(error.starts_with(message), "{error}\nshould start with\n{message}");
    }
}

#[test]
fn the_digest_of_a_folder_covers_bytes_and_classes_and_no_names() {
    let digest = |files: &[(&str, &str)]| {
        let folder = image_folder(files);
        let digests = source_digests(&folder_config(), folder.path()).unwrap();
        assert_eq!(source_files(&folder_config(), folder.path()).unwrap().len(), files.len());
        <[[u8; 32]; 1]>::try_from(digests).unwrap()
    };
    let [one, two, three] = ["folder/a/1.png", "folder/a/2.jpg", "folder/b/3.png"];
    let base = digest(&[(one, "a/1.png"), (two, "a/2.jpg"), (three, "b/3.png")]);
    assert_eq!(digest(&[(one, "x/1.png"), (two, "x/5.jpg"), (three, "y/9.png")]), base);
    let others = [
        digest(&[(one, "a/1.png"), (two, "b/2.jpg"), (three, "b/3.png")]),
        digest(&[(two, "a/1.jpg"), (one, "a/2.png"), (three, "b/3.png")]),
        digest(&[(one, "a/1.png"), (one, "a/2.png"), (three, "b/3.png")]),
        digest(&[(one, "a/1.png"), (three, "b/3.png")]),
    ];
    assert!(others.iter().all(|other| *other != base));
}

fn idx_pair(folder: &Folder, name: &str, side: u32, count: u32) -> DataConfig {
    let pixels: Vec<u8> = (0..count * side * side).map(|i| (i % 251) as u8).collect();
    folder.write(&format!("{name}-images"), &idx_bytes(0x0803, &[count, side, side], &pixels));
    let labels: Vec<u8> = (0..count).map(|i| (i % 3) as u8).collect();
    folder.write(&format!("{name}-labels"), &idx_bytes(0x0801, &[count], &labels));
    DataConfig::new(DataFormat::Idx, format!("{name}-images"), Some(format!("{name}-labels").into()))
}

#[test]
fn parts_come_from_one_file_or_from_files_of_their_own() {
    let folder = Folder::new();
    let mut training = idx_pair(&folder, "train", 2, 30);
    training.preprocess.scale = 255.0;
    training.preprocess.mean = vec![0.5];
    idx_pair(&folder, "test", 2, 7);
    let split: SplitConfig = toml::from_str(
        "validation = 0.2\ntest = { format = \"idx\", images = \"test-images\", labels = \"test-labels\" }",
    )
    .unwrap();
    let parts = Parts::load(&training, &split, 1, folder.path()).unwrap();
    let length = |part: &Option<Part>| part.as_ref().map(Part::len);
    assert_eq!(
        (parts.training.len(), length(&parts.validation), length(&parts.test)),
        (24, Some(6), Some(7))
    );
    let validation = parts.validation.unwrap();
    assert!(std::ptr::eq(validation.data(), parts.training.data()), "rows are taken, not copied");
    assert!(validation.rows().iter().all(|row| !parts.training.rows().contains(row)));
    assert_eq!(parts.training.data().images(0..1)[1], 1.0 / 255.0, "scaled, and not normalized");

    idx_pair(&folder, "test", 3, 7);
    let error = Parts::load(&training, &split, 1, folder.path()).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("the images for {} have shape [1, 3, 3], but those for training [1, 2, 2]", PartName::Test)
    );
}

#[test]
fn scaling_then_normalizing_is_preprocessing_to_the_bit() {
    let folder = Folder::with(
        &idx_bytes(0x0804, &[1, 2, 8, 16], &(0..=255).collect::<Vec<_>>()),
        &idx_bytes(0x0801, &[1], &[0]),
    );
    let mut config = config(DataFormat::Idx);
    config.preprocess.scale = 255.0;
    config.preprocess.mean = vec![0.286, 0.5];
    config.preprocess.std = vec![0.353];
    let whole: Dataset = folder.load(&config).unwrap();
    let scaled = load_scaled(&config, folder.path()).unwrap();
    let mut images = scaled.images(0..1).to_vec();
    config.preprocess.normalization(2).unwrap().apply(&mut images, 256);
    assert_eq!(images, whole.images(0..1));
    config.preprocess.std = vec![0.1; 3];
    let error = load_scaled(&config, folder.path()).unwrap_err().to_string();
    assert!(
        error.starts_with("data.preprocess.std has 3 values, but the images have 2 channel(s)"),
        "{error}"
    );
}
