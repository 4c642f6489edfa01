//! Files and configurations that are wrong: each error says what and where, and nothing panics or eats memory.

mod common;

use bitquake_data::{DataConfig, DataError, DataFormat};
use common::{Folder, config, gzip, idx_bytes, npy_bytes, npy_of, npy_with_header, write_npz};

fn good_images() -> Vec<u8> {
    idx_bytes(0x0803, &[3, 2, 2], &[1; 12])
}

fn good_labels() -> Vec<u8> {
    idx_bytes(0x0801, &[3], &[0, 1, 2])
}

#[test]
fn wrong_idx_files_say_what_is_wrong() {
    let none: &[u8] = &[];
    let (images, labels) = (&good_images(), &good_labels());
    let gzipped = gzip(images);
    let mut bad_checksum = gzipped.clone();
    let end = bad_checksum.len();
    bad_checksum[end - 8] ^= 1;
    let cases: [(&[u8], &[u8], &str); 17] = [
        (
            labels,
            labels,
            "images starts with 0x00000801, which is not the mark of IDX images of unsigned bytes: 0x00000803 or 0x00000804 or 0x00000802",
        ),
        (
            images,
            images,
            "labels starts with 0x00000803, which is not the mark of IDX labels of unsigned bytes: 0x00000801",
        ),
        (b"\x93NUMPY..", labels, "images starts with 0x934e554d, which"),
        (&idx_bytes(0x0d03, &[3, 2, 2], &[0; 48]), labels, "images starts with 0x00000d03, which"),
        (images, &idx_bytes(0x0801, &[2], &[0, 1]), "images has 3 images, but labels has 2 labels"),
        (images, &idx_bytes(0x0801, &[4], &[0; 4]), "images has 3 images, but labels has 4 labels"),
        (
            images,
            &idx_bytes(0x0801, &[3], &[0, 1]),
            "labels is cut short: its header declares 3 bytes of data, and 2 are there",
        ),
        (
            &images[..images.len() - 1],
            labels,
            "images is cut short: its header declares 12 bytes of data, and 11 are there",
        ),
        (
            &gzip(&images[..images.len() - 5]),
            labels,
            "images is cut short: its header declares 12 bytes of data, and 7 are there",
        ),
        (
            &[images.as_slice(), &[0; 9]].concat(),
            labels,
            "images is too long: its header declares 12 bytes of data, and at least 13 are there",
        ),
        (
            &gzip(&[images.as_slice(), &[0; 9]].concat()),
            labels,
            "images is too long: its header declares 12 bytes of data, and at least 13 are there",
        ),
        (&gzipped[..end - 1], labels, "cannot read images: "),
        (&bad_checksum, labels, "cannot read images: corrupt gzip stream does not have a matching checksum"),
        (none, labels, "images is cut short: 0 bytes are there, and this part of an IDX header has 4"),
        (
            &images[..9],
            labels,
            "images is cut short: 5 bytes are there, and this part of an IDX header has 12",
        ),
        (&idx_bytes(0x0803, &[3, 0, 2], none), labels, "images has shape [3, 0, 2]: it is empty"),
        (
            &idx_bytes(0x0803, &[0, 2, 2], none),
            &idx_bytes(0x0801, &[0], none),
            "labels has shape [0]: it is empty",
        ),
    ];
    for (images, labels, message) in cases {
        let error = Folder::with(images, labels).error(&config(DataFormat::Idx));
        assert!(error.starts_with(message), "{error}\nshould start with\n{message}");
    }
}

#[test]
fn wrong_npy_files_say_what_is_wrong() {
    let labels = &npy_bytes("|u1", false, &[2], &[0, 1]);
    let images = &npy_bytes("|u1", false, &[2, 1], &[0, 1]);
    let mut new_version = images.clone();
    new_version[6] = 4;
    let mut long_header = b"\x93NUMPY\x02\x00".to_vec();
    long_header.extend(u32::MAX.to_le_bytes());
    let deep = npy_with_header(&"(".repeat(9999), &[]);
    let nested = npy_with_header(&format!("{{'shape': {}", "[(".repeat(4000)), &[]);
    let not_utf8 = [b"\x93NUMPY\x01\x00\x01\x00".as_slice(), &[0xff]].concat();
    let cases: [(&[u8], &[u8], &str); 22] = [
        (b"", labels, "images has no valid npy header: it is cut short"),
        (b"\x93NUMP", labels, "images has no valid npy header: it is cut short"),
        (b"PK\x03\x04....", labels, "images has no valid npy header: the mark \\x93NUMPY is missing"),
        (&new_version, labels, "images has no valid npy header: its version is not 1, 2 or 3"),
        (&long_header, labels, "images has no valid npy header: it is longer than 10,000 bytes"),
        (&deep, labels, "images has no valid npy header: it is no dictionary"),
        (&nested, labels, "images has no valid npy header: shape is no tuple of whole numbers"),
        (&not_utf8, labels, "images has no valid npy header: it is not UTF-8"),
        (
            &npy_with_header("{}", &[]),
            labels,
            "images has no valid npy header: descr, fortran_order or shape is",
        ),
        (
            &images[..images.len() - 1],
            labels,
            "images is cut short: its header declares 2 bytes of data, and 1 are",
        ),
        (
            &[images.as_slice(), b"x"].concat(),
            labels,
            "images is too long: its header declares 2 bytes of data",
        ),
        (
            &npy_bytes("<i8", false, &[2, 1], &[0; 16]),
            labels,
            "images has elements of type `i8`; images need one of",
        ),
        (
            &npy_bytes("|b1", false, &[2, 1], &[0; 2]),
            labels,
            "images has elements of type `|b1`; images need one of",
        ),
        (
            &npy_bytes("|O", false, &[2, 1], &[0; 2]),
            labels,
            "images has elements of type `|O`; images need one of",
        ),
        (
            images,
            &npy_bytes("<f4", false, &[2], &[0; 8]),
            "labels has elements of type `f4`; labels need a whole",
        ),
        (
            images,
            &npy_bytes("|u1", false, &[2, 2], &[0; 4]),
            "labels has shape [2, 2], but labels are [N] or [N, 1]",
        ),
        (images, &npy_bytes("|u1", false, &[], &[0]), "labels has shape [], but labels are [N] or [N, 1]"),
        (
            &npy_bytes("|u1", false, &[2], &[0; 2]),
            labels,
            "images has shape [2], but images are [N, C, H, W],",
        ),
        (
            &npy_bytes("|u1", false, &[2, 1, 1, 1, 1], &[0; 2]),
            labels,
            "images has shape [2, 1, 1, 1, 1], but images",
        ),
        (&npy_bytes("|u1", false, &[3, 1], &[0; 3]), labels, "images has 3 images, but labels has 2 labels"),
        (
            images,
            &npy_of("<i8", &[2], [0_i64, -1].map(i64::to_le_bytes)),
            "labels has label -1 at index 1; labels run from 0 to 4294967295",
        ),
        (
            images,
            &npy_of("<u8", &[2], [u64::MAX, 0].map(u64::to_le_bytes)),
            "labels has label 18446744073709551615 at index 0; labels run",
        ),
    ];
    for (images, labels, message) in cases {
        let error = Folder::with(images, labels).error(&config(DataFormat::Npy));
        assert!(error.starts_with(message), "{error}\nshould start with\n{message}");
    }
}

#[test]
fn wrong_npz_files_say_what_is_wrong() {
    let folder = Folder::new();
    let path = folder.path().join("images");
    let config = config(DataFormat::Npz);
    let array = npy_bytes("|u1", false, &[2, 1], &[0, 1]);

    folder.write("images", b"no archive");
    assert!(
        folder.error(&config).starts_with("images is no npz file that can be read"),
        "{}",
        folder.error(&config)
    );

    write_npz(&path, &[("x.npy", &array), ("labels.npy", &array), ("note.txt", b"hello")]);
    assert_eq!(folder.error(&config), "images has no array `images`; it has: x, labels, note.txt");

    write_npz(&path, &[("images.npy", b"hello"), ("labels.npy", &array)]);
    assert_eq!(folder.error(&config), "images[images] has no valid npy header: it is cut short");

    // One bit of stored data: the archive's checksum finds it.
    write_npz(&path, &[("images.npy", &array), ("labels.npy", &array)]);
    let mut bytes = std::fs::read(&path).unwrap();
    let start = bytes.windows(6).position(|window| window == b"\x93NUMPY").unwrap();
    bytes[start + array.len() - 1] ^= 2;
    folder.write("images", &bytes);
    assert!(folder.error(&config).starts_with("cannot read images[images]: "), "{}", folder.error(&config));
}

/// Headers that promise exabytes, with little behind them, in every format; none may reserve what it promises.
#[test]
fn headers_that_lie_do_not_exhaust_memory() {
    let labels = idx_bytes(0x0801, &[1], &[0]);
    let huge = u32::MAX;
    for image in [
        idx_bytes(0x0803, &[1, huge, huge], &[0; 100]),
        gzip(&idx_bytes(0x0803, &[1, huge, huge], &[0; 100])),
    ] {
        let error = Folder::with(&image, &labels).error(&config(DataFormat::Idx));
        assert!(error.ends_with("bytes of data, and 100 are there"), "{error}");
    }
    let error =
        Folder::with(&good_images(), &idx_bytes(0x0801, &[huge], &[0])).error(&config(DataFormat::Idx));
    assert!(error.ends_with("declares 4294967295 bytes of data, and 1 are there"), "{error}");
    let error = Folder::with(&idx_bytes(0x0804, &[1, huge, huge, huge], &[]), &labels)
        .error(&config(DataFormat::Idx));
    assert!(error.ends_with("which is too large to be real"), "{error}");

    // Nothing is kept for each of four billion channels.
    let error = Folder::with(&idx_bytes(0x0804, &[1, huge, 1, 1], &[0; 100]), &labels)
        .error(&config(DataFormat::Idx));
    assert!(error.ends_with("declares 4294967295 bytes of data, and 100 are there"), "{error}");

    let label = npy_bytes("|u1", false, &[1], &[0]);
    for is_fortran in [false, true] {
        for shape in [&[1, 1 << 40][..], &[1, 1 << 20, 1 << 20, 1 << 19]] {
            let image = npy_bytes("<f8", is_fortran, shape, &[0; 64]);
            let error = Folder::with(&image, &label).error(&config(DataFormat::Npy));
            assert!(error.ends_with("bytes of data, and 64 are there"), "{error}");
            let folder = Folder::new();
            write_npz(&folder.path().join("images"), &[("labels.npy", &label), ("images.npy", &image)]);
            let error = folder.error(&config(DataFormat::Npz));
            assert!(error.starts_with("images[images] is cut short"), "{error}");
        }
        let image = npy_bytes("<f8", is_fortran, &[1, 1 << 31, 1 << 31, 1 << 31], &[0; 64]);
        let error = Folder::with(&image, &label).error(&config(DataFormat::Npy));
        assert!(error.ends_with("which is too large to be real"), "{error}");
    }
}

#[test]
fn a_gzip_bomb_stops_at_the_declared_size() {
    let bomb = gzip(&idx_bytes(0x0803, &[3, 2, 2], &vec![0; 64 << 20]));
    assert!(bomb.len() < 1 << 20);
    let error = Folder::with(&bomb, &good_labels()).error(&config(DataFormat::Idx));
    assert!(error.ends_with("declares 12 bytes of data, and at least 13 are there"), "{error}");

    let label = npy_bytes("|u1", false, &[1], &[0]);
    let bomb = npy_bytes("|u1", false, &[1, 2], &vec![0; 64 << 20]);
    let folder = Folder::new();
    write_npz(&folder.path().join("images"), &[("labels.npy", &label), ("images.npy", &bomb)]);
    let error = folder.error(&config(DataFormat::Npz));
    assert!(error.ends_with("declares 2 bytes of data, and at least 3 are there"), "{error}");
}

/// The sizes that a zip archive claims for a member are never believed either.
#[test]
fn zip_sizes_that_lie_are_caught() {
    let label = npy_bytes("|u1", false, &[1], &[0]);
    let image = npy_bytes("|u1", false, &[1, 2], &[0; 2]);
    let folder = Folder::new();
    write_npz(&folder.path().join("images"), &[("labels.npy", &label), ("images.npy", &image)]);
    let bytes = std::fs::read(folder.path().join("images")).unwrap();
    // The uncompressed size is 24 bytes into a directory entry (APPNOTE 4.3.12), and 22 into a local header.
    for (mark, offset) in [(b"PK\x01\x02", 24), (b"PK\x03\x04", 22)] {
        for start in (0..bytes.len()).filter(|&start| bytes[start..].starts_with(mark)) {
            for size in [0, 1, 0xffff_fffe_u32] {
                let mut bytes = bytes.clone();
                bytes[start + offset..start + offset + 4].copy_from_slice(&size.to_le_bytes());
                folder.write("images", &bytes);
                // Reading what is there, or refusing, are both right; only the values could be wrong.
                if let Ok(data) = folder.load(&config(DataFormat::Npz)) {
                    assert_eq!((data.labels(), data.images(0..1)), ([0].as_slice(), [0.0, 0.0].as_slice()));
                }
            }
        }
    }
}

#[test]
fn missing_files_and_folders() {
    let folder = Folder::with(&good_images(), &good_labels());
    for format in [DataFormat::Idx, DataFormat::Npy, DataFormat::Npz] {
        let config = DataConfig::new(format, "nothing", Some("nothing".into()));
        assert!(
            folder.error(&config).starts_with("cannot open nothing: No such file"),
            "{}",
            folder.error(&config)
        );
        let config = DataConfig::new(format, ".", Some(".".into()));
        let error = folder.load(&config).unwrap_err();
        assert!(!error.is_configuration(), "{error}");
    }
}

#[test]
fn wrong_keys_are_named() {
    let folder = Folder::with(&idx_bytes(0x0804, &[3, 2, 1, 1], &[1; 6]), &good_labels());
    let change = |change: &dyn Fn(&mut DataConfig)| {
        let mut config = config(DataFormat::Idx);
        change(&mut config);
        assert!(folder.load(&config).unwrap_err().is_configuration());
        folder.error(&config)
    };
    type Edit<'a> = &'a dyn Fn(&mut DataConfig);
    let cases: [(Edit<'_>, &str); 18] = [
        (&|c| c.limit = Some(0), "data.limit is 0; it must be at least 1"),
        (&|c| c.limit = Some(4), "data.limit is 4, but images holds only 3 images"),
        (&|c| c.limit = Some(u64::MAX), "data.limit is 18446744073709551615, but images holds only 3 images"),
        (&|c| c.labels = None, "data.labels is missing; format idx needs a file of labels"),
        (&|c| c.images_key = "x".into(), "data.images_key has no meaning for format idx"),
        (&|c| c.more = vec!["x".into()], "data.more has no meaning for format idx"),
        (&|c| c.resize = Some([4, 4]), "data.resize has no meaning for format idx"),
        (&|c| c.channels = Some(1), "data.channels has no meaning for format idx"),
        (&|c| c.labels_key = "y".into(), "data.labels_key has no meaning for format idx"),
        (&|c| c.preprocess.scale = 0.0, "data.preprocess.scale is 0; it must be finite and not 0"),
        (&|c| c.preprocess.scale = f32::NAN, "data.preprocess.scale is NaN; it must be finite and not 0"),
        (
            &|c| c.preprocess.mean = vec![0.0, f32::INFINITY],
            "data.preprocess.mean[1] is inf; it must be finite",
        ),
        (&|c| c.preprocess.std = vec![0.0], "data.preprocess.std[0] is 0; it must be finite and above 0"),
        (
            &|c| c.preprocess.std = vec![1.0, -1.0],
            "data.preprocess.std[1] is -1; it must be finite and above 0",
        ),
        (
            &|c| c.preprocess.std = vec![f32::NAN],
            "data.preprocess.std[0] is NaN; it must be finite and above 0",
        ),
        (
            &|c| c.preprocess.std = vec![f32::INFINITY],
            "data.preprocess.std[0] is inf; it must be finite and above 0",
        ),
        (
            &|c| c.preprocess.mean = vec![0.0; 3],
            "data.preprocess.mean has 3 values, but the images have 2 channel(s); give one value, one a channel, or none",
        ),
        (
            &|c| c.preprocess.std = vec![1.0; 3],
            "data.preprocess.std has 3 values, but the images have 2 channel(s); give one value, one a channel, or none",
        ),
    ];
    for (edit, message) in cases {
        assert_eq!(change(edit), message);
    }
}

/// A device need not end, neither when it is loaded nor when it is hashed.
#[cfg(unix)]
#[test]
fn devices_are_refused() {
    let labels = Some("/dev/zero".into());
    for (format, labels) in
        [(DataFormat::Idx, labels), (DataFormat::Npz, None), (DataFormat::Safetensors, None)]
    {
        let config = DataConfig::new(format, "/dev/zero", labels);
        let base = std::path::Path::new(".");
        let errors =
            [bitquake_data::load(&config, base).err(), bitquake_data::source_digests(&config, base).err()];
        for error in errors {
            let said = format!("{error:?}");
            assert!(said.contains("is a device"), "{format:?}: {said}");
        }
    }
}

#[test]
fn configurations_read_and_print() {
    let text = "format = \"npz\"\nimages = \"a.npz\"\nimages_key = \"x\"\nlabels_key = \"labels\"\nlimit = 10\n\n\
                [preprocess]\nscale = 255.0\nmean = [0.286]\nstd = [0.353]\nlayout = \"nhwc\"\n";
    let config: DataConfig = toml::from_str(text).unwrap();
    assert_eq!(toml::to_string(&config).unwrap(), text);
    let number = text.replace("[0.286]", "0.286").replace("[0.353]", "0.353");
    assert_eq!(toml::from_str::<DataConfig>(&number), Ok(config));
    let short: DataConfig = toml::from_str("format = \"idx\"\nimages = \"a\"\nlabels = \"b\"").unwrap();
    assert_eq!(short, DataConfig::new(DataFormat::Idx, "a", Some("b".into())));
    let cases = [
        ("format = \"idx\"\nimages = \"a\"\nlable = \"b\"", "unknown field `lable`"),
        ("format = \"idx\"\nimages = \"a\"\npreprocess = { scales = 1 }", "unknown field `scales`"),
        ("format = \"idx\"", "missing field `images`"),
        (
            "format = \"IDX\"\nimages = \"a\"",
            "unknown data format `IDX`; supported: idx, npz, npy, cifar-binary, image-folder, hdf5, safetensors",
        ),
        ("format = \"idx\"\nimages = \"a\"\nlimit = -1", "limit"),
        ("format = \"idx\"\nimages = \"a\"\npreprocess = { layout = \"chwn\" }", "unknown variant `chwn`"),
    ];
    for (text, message) in cases {
        let error = toml::from_str::<DataConfig>(text).unwrap_err().to_string();
        assert!(error.contains(message), "{error}\nshould contain\n{message}");
    }
}

/// A fixed sequence of numbers (xorshift), so that every run tries the same damage.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.max(1) as u64) as usize
    }

    /// Flips bits, overwrites, cuts, repeats or inserts, one to three times.
    fn damage(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(bytes.len());
            match self.below(6) {
                0 | 1 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                2 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                3 => bytes.truncate(at),
                4 => bytes.extend_from_within(at..),
                _ => bytes.insert(at, self.below(256) as u8),
            }
        }
        bytes
    }
}

#[test]
fn damaged_files_never_panic() {
    let mut numbers = Numbers(0x5eed);
    let folder = Folder::new();
    let npz = {
        let labels = npy_of("<i8", &[3], [0_i64, 1, 2].map(i64::to_le_bytes));
        let images = npy_bytes("<f4", true, &[3, 1, 2, 2], &[0; 48]);
        write_npz(&folder.path().join("npz"), &[("images.npy", &images), ("labels.npy", &labels)]);
        std::fs::read(folder.path().join("npz")).unwrap()
    };
    let npy_images = npy_bytes(">f2", false, &[3, 2, 2, 2], &[0x3c; 48]);
    let npy_labels = npy_bytes("|u1", false, &[3], &[0, 1, 2]);
    let cases = [
        (DataFormat::Idx, good_images(), good_labels()),
        (DataFormat::Idx, gzip(&good_images()), gzip(&good_labels())),
        (DataFormat::Npy, npy_images, npy_labels),
        (DataFormat::Npz, npz, Vec::new()),
    ];
    for (format, images, labels) in cases {
        let (mut loaded, mut refused) = (0, 0);
        for round in 0..2500 {
            // The labels are read first, so they are damaged less often.
            let is_labels = round % 4 == 0 && format != DataFormat::Npz;
            folder.write("images", &if is_labels { images.clone() } else { numbers.damage(&images) });
            folder.write("labels", &if is_labels { numbers.damage(&labels) } else { labels.clone() });
            match folder.load(&config(format)) {
                Ok(data) => {
                    loaded += 1;
                    assert_eq!(data.images(0..data.len()).len(), data.len() * data.image_len());
                }
                Err(DataError::Config(error)) => panic!("{format}: {error} does not blame the file"),
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().is_empty());
                }
            }
        }
        assert!(refused > 100 && loaded > 0, "{format}: {loaded} loaded, {refused} refused");
    }
}
