//! From a data set to batches: parts, orders, augmentation that depends on nothing but its key.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::Arc;

use bitquake_data::{
    Amount, Augmentation, Batch, BatchError, Batches, Dataset, Feed, Fill, FillName, Held, LastBatch,
    Normalization, Part, Policy, Split, SplitConfig, SplitError, Step,
};
use bitquake_testing::assert_cases;
use proptest::prelude::*;

/// Images of three channels, 8 x 8, whose values are whole numbers of 255ths; labels 0 to 9.
fn images(count: usize) -> Dataset {
    let byte = |i: usize| (i * i / 7 + i * 31) % 256;
    let values = (0..count * 192).map(|i| byte(i) as f32 / 255.0).collect();
    Dataset::new(values, vec![3, 8, 8], (0..count as u32).map(|row| row % 10).collect()).unwrap()
}

/// Every kind of step.
fn steps() -> Vec<Step> {
    vec![
        Step::Crop { padding: 2, fill: Fill::default() },
        Step::Flip { probability: 0.5 },
        Step::AutoAugment { policy: Policy::Cifar10, fill: Fill::default() },
        Step::Cutout { size: 3, fill: Fill::Name(FillName::Zero) },
    ]
}

fn identity(channels: usize) -> Normalization {
    Normalization::new(vec![0.0; channels], vec![1.0; channels]).unwrap()
}

fn out(amount: Amount) -> Option<Held> {
    Some(Held::Out(amount))
}

/// Images of the first batch of 64 of an epoch, in batches of `size`, by row.
fn augmented(data: &Arc<Dataset>, size: usize, seed: u64, epoch: u64) -> Vec<(usize, Vec<f32>)> {
    let augmentation = Augmentation::new(&steps(), data, &[0.5, 0.4, 0.3]).unwrap();
    let part = Part::whole(Arc::clone(data));
    let feed = Feed::training(part, size, LastBatch::Keep, augmentation, identity(3), seed).unwrap();
    let (pass, mut batch, mut images) = (feed.epoch(epoch), Batch::new(), Vec::new());
    let mut number = 0;
    while pass.fill(number, &mut batch) {
        images.extend(batch.rows().iter().copied().zip(batch.images().chunks(192).map(<[f32]>::to_vec)));
        number += 1;
    }
    assert_eq!(number, feed.batches());
    images.sort_by_key(|(row, _)| *row);
    images
}

#[test]
fn augmentation_depends_on_neither_batch_nor_threads() {
    let data = Arc::new(images(50));
    let expected = augmented(&data, 50, 7, 3);
    for size in [1, 7, 64] {
        assert_eq!(augmented(&data, size, 7, 3), expected, "batches of {size}");
    }
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| augmented(&data, 16, 7, 3)), expected, "{threads} threads");
    }
}

#[test]
fn seeds_and_epochs_augment_otherwise() {
    let data = Arc::new(images(50));
    let [first, seed, epoch] =
        [(7, 3), (8, 3), (7, 4)].map(|(seed, epoch)| augmented(&data, 50, seed, epoch));
    for other in [seed, epoch] {
        let same = first.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(same < 5, "{same} of 50 images are the same");
    }
}

#[test]
fn images_of_one_content_are_augmented_apart() {
    let data = Arc::new(Dataset::new(images(1).images(0..1).repeat(50), vec![3, 8, 8], vec![0; 50]).unwrap());
    let mut different: Vec<Vec<u32>> = augmented(&data, 50, 7, 3)
        .into_iter()
        .map(|(_, image)| image.into_iter().map(f32::to_bits).collect())
        .collect();
    different.sort_unstable();
    different.dedup();
    assert!(different.len() > 45, "{}", different.len());
}

/// The first words of the streams: a change of these changes every training run, and CHANGELOG.md must say so.
#[test]
fn orders_and_splits_are_pinned() {
    let batches = Batches::shuffled((0..10).collect(), 10, LastBatch::Keep, 42, 1).unwrap();
    let split =
        SplitConfig { validation: out(Amount::Count(3)), stratified: false, ..SplitConfig::default() };
    let split = Split::new(&[0; 10], &split, 42).unwrap();
    assert_eq!((batches.get(0).unwrap(), split.validation), (&PINNED_ORDER[..], PINNED_SPLIT.to_vec()));
}

const PINNED_ORDER: [usize; 10] = [6, 2, 5, 0, 4, 7, 9, 8, 3, 1];
const PINNED_SPLIT: [usize; 3] = [0, 3, 4];

#[test]
fn all_windows_and_both_mirrors_occur_as_often() {
    // Two tests at a false-alarm probability of 1e-9 each: 9 windows of a 2 x 2 image with padding 1, and the flip.
    let data =
        Arc::new(Dataset::new([1.0, 2.0, 3.0, 4.0].repeat(18_000), vec![1, 2, 2], vec![0; 18_000]).unwrap());
    let crop = [Step::Crop { padding: 1, fill: Fill::Colour(vec![0.0]) }];
    let flip = [Step::Flip { probability: 0.3 }];
    let batch_of = |steps: &[Step]| {
        let mut batch = Batch::new();
        batch.fill(&data, &(0..18_000).collect::<Vec<_>>());
        Augmentation::new(steps, &data, &[]).unwrap().apply(&mut batch, 1, 0);
        batch
    };
    let mut windows: Vec<u32> = Vec::new();
    for image in batch_of(&crop).images().chunks(4) {
        windows.push(image.iter().fold(0, |code, &value| code * 5 + value as u32));
    }
    windows.sort_unstable();
    let counts: Vec<u64> = windows.chunk_by(|a, b| a == b).map(|run| run.len() as u64).collect();
    assert_eq!(counts.len(), 9);
    bitquake_testing::assert_uniform(&counts, 1e-9);
    let mirrored = batch_of(&flip).images().chunks(4).filter(|image| **image == [2.0, 1.0, 4.0, 3.0]).count();
    bitquake_testing::assert_binomial(mirrored as u64, 18_000, 0.3, 1e-9);
}

#[test]
fn centres_of_squares_are_uniform() {
    // One test at a false-alarm probability of 1e-9.
    let data = Dataset::new(vec![1.0; 12 * 12_000], vec![1, 3, 4], vec![0; 12_000]).unwrap();
    let mut batch = Batch::new();
    batch.fill(&data, &(0..12_000).collect::<Vec<_>>());
    let steps = [Step::Cutout { size: 1, fill: Fill::Name(FillName::Zero) }];
    Augmentation::new(&steps, &data, &[0.5]).unwrap().apply(&mut batch, 1, 0);
    let mut counts = [0; 12];
    for image in batch.images().chunks(12) {
        counts[image.iter().position(|&value| value == 0.0).unwrap()] += 1;
    }
    bitquake_testing::assert_uniform(&counts, 1e-9);
}

#[test]
fn batches_of_one_size_and_a_last_one() {
    let sizes = |rows: usize, size, last| -> Result<Vec<usize>, BatchError> {
        let batches = Batches::in_order((0..rows).collect(), size, last)?;
        assert_eq!(batches.iter().count(), batches.len());
        assert!(batches.get(batches.len()).is_none() && batches.get(usize::MAX).is_none());
        Ok((0..batches.len()).map(|batch| batches.get(batch).unwrap().len()).collect())
    };
    assert_cases(
        [
            ("kept", (10, 4, LastBatch::Keep), Ok(vec![4, 4, 2])),
            ("dropped", (10, 4, LastBatch::Drop), Ok(vec![4, 4])),
            ("none to drop", (8, 4, LastBatch::Drop), Ok(vec![4, 4])),
            ("one", (3, 4, LastBatch::Keep), Ok(vec![3])),
            ("nothing left", (3, 4, LastBatch::Drop), Err(BatchError::None { rows: 3, size: 4 })),
            ("no rows", (0, 4, LastBatch::Keep), Err(BatchError::None { rows: 0, size: 4 })),
            ("no size", (3, 0, LastBatch::Keep), Err(BatchError::ZeroSize)),
        ],
        |(rows, size, last)| sizes(rows, size, last),
    );
}

#[test]
fn evaluation_is_the_data_as_loaded_and_memory_is_kept() {
    let data = Arc::new(images(10));
    let normalization = Normalization::new(vec![0.5, 0.4, 0.3], vec![0.2, 0.3, 0.4]).unwrap();
    let part = Part::new(Arc::clone(&data), vec![8, 1, 5]).unwrap();
    let feed = Feed::evaluation(part, 2, normalization).unwrap();
    let (epoch, mut batch) = (feed.epoch(0), Batch::new());
    assert!(batch.is_empty() && epoch.fill(0, &mut batch));
    assert_eq!((batch.rows(), batch.labels(), batch.len()), (&[8, 1][..], &[8, 1][..], 2));
    for (i, &value) in batch.images().iter().enumerate() {
        let channel = i / 64 % 3;
        let stored = data.images(8..9).iter().chain(data.images(1..2)).nth(i).unwrap();
        assert_eq!(value, (stored - [0.5, 0.4, 0.3][channel]) / [0.2, 0.3, 0.4][channel]);
    }
    let memory = batch.images().as_ptr();
    assert!(epoch.fill(1, &mut batch));
    assert_eq!((batch.rows(), batch.images().as_ptr()), (&[5][..], memory));
    assert!(!epoch.fill(2, &mut batch));
    assert_eq!(batch.rows(), [5], "nothing changes after the last");
}

#[test]
fn splits_that_cannot_be_made_say_why() {
    let split = |validation, test| {
        let config = SplitConfig { validation, test, stratified: true };
        Split::new(&[0, 1, 1, 0], &config, 1).unwrap_err().to_string()
    };
    let (share, count) = (|value| out(Amount::Share(value)), |value| out(Amount::Count(value)));
    assert_cases(
        [
            ("0", (share(0.0), None), "data.split.validation is 0; a share must be above 0 and below 1"),
            ("1", (share(1.0), None), "data.split.validation is 1; a share must be above 0 and below 1"),
            ("below", (None, share(-0.5)), "data.split.test is -0.5; a share must be above 0 and below 1"),
            ("nan", (None, share(f64::NAN)), "data.split.test is NaN; a share must be above 0 and below 1"),
            (
                "tiny",
                (share(0.1), None),
                "data.split.validation is 0.1, which is none of 4 images; a part must hold at least one",
            ),
            (
                "none",
                (None, count(0)),
                "data.split.test is 0, which is none of 4 images; a part must hold at least one",
            ),
            (
                "all",
                (share(0.5), count(2)),
                "data.split takes 2 images for validation and 2 for test out of 4, and leaves none for training",
            ),
            (
                "huge",
                (count(u64::MAX), count(u64::MAX)),
                "data.split takes 18446744073709551615 images for validation and 18446744073709551615 for test out of 4, and leaves none for training",
            ),
        ],
        |(validation, test)| split(validation, test).leak() as &str,
    );
    let none = Split::new(&[], &SplitConfig::default(), 1);
    assert_eq!(none, Err(SplitError::NothingLeft { validation: 0, test: 0, rows: 0 }));
}

/// Each part takes the same class first, which has one row alone.
#[test]
fn a_part_takes_nothing_that_another_has_taken() {
    let config = SplitConfig {
        validation: out(Amount::Count(1)),
        test: out(Amount::Count(1)),
        ..SplitConfig::default()
    };
    let split = Split::new(&[2, 0, 1], &config, 1).unwrap();
    assert_eq!((split.test, split.validation, split.training), (vec![1], vec![2], vec![0]));
}

#[test]
fn shares_round_to_the_nearest_and_halves_up() {
    let taken = |(share, rows): (f64, usize)| {
        let config = SplitConfig { validation: out(Amount::Share(share)), ..SplitConfig::default() };
        Split::new(&vec![0; rows], &config, 1).unwrap().validation.len()
    };
    let rows = [
        ("fashion", (0.1, 60_000), 6000),
        ("below", (0.1, 14), 1),
        ("half", (0.5, 5), 3),
        ("above", (0.1, 16), 2),
    ];
    assert_cases(rows, taken);
}

#[test]
fn configurations_of_parts_are_read_and_printed() {
    let text =
        "validation = 5000\nstratified = false\n\n[test]\nformat = \"idx\"\nimages = \"i\"\nlabels = \"l\"\n";
    let config: SplitConfig = toml::from_str(text).unwrap();
    assert_eq!(config.validation, out(Amount::Count(5000)));
    assert!(matches!(&config.test, Some(Held::Files(files)) if files.images == std::path::Path::new("i")));
    let again: SplitConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
    assert_eq!(again, config);
    let cases = [
        ("validate = 0.1", "unknown field `validate`"),
        ("validation = -3", "invalid value: integer `-3`, expected a share such as 0.1"),
        ("validation = \"0.1\"", "invalid type: string \"0.1\", expected a share such as 0.1"),
        ("test = { format = \"idx\", images = \"a\", lables = \"b\" }", "unknown field `lables`"),
    ];
    for (text, message) in cases {
        let error = toml::from_str::<SplitConfig>(text).unwrap_err().to_string();
        assert!(error.contains(message), "{error}\nshould contain\n{message}");
    }
}

#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Recipe {
    augment: Vec<Step>,
}

#[test]
fn configurations_of_steps_are_read_and_printed() {
    let text = "augment = [{ crop = 2 }, { flip = 0.5 }, { autoaugment = \"cifar10\" }, { cutout = 3, fill = \"zero\" }]";
    let recipe: Recipe = toml::from_str(text).unwrap();
    assert_eq!(recipe.augment, steps());
    let again: Recipe = toml::from_str(&toml::to_string(&recipe).unwrap()).unwrap();
    assert_eq!(again, recipe);
    let cases = [
        ("{ corp = 4 }", "unknown field `corp`"),
        ("{}", "exactly one of crop, flip, cutout and autoaugment; this one has none"),
        ("{ crop = 4, flip = 0.5 }", "this one has crop, flip"),
        ("{ flip = 0.5, fill = \"mean\" }", "fill has no meaning beside flip"),
        (
            "{ crop = 4, fill = \"grey\" }",
            "fill is \"mean\", \"zero\" or a list of one number for each channel",
        ),
        ("{ crop = -4 }", "invalid value: integer `-4`"),
        ("{ autoaugment = \"cifar10-a\" }", "unknown variant `cifar10-a`, expected `cifar10`"),
    ];
    for (step, message) in cases {
        let error = toml::from_str::<Recipe>(&format!("augment = [{step}]")).unwrap_err().to_string();
        assert!(error.contains(message), "{error}\nshould contain\n{message}");
    }
}

#[test]
fn steps_that_do_not_fit_say_why() {
    let good = images(2);
    let bytes = Dataset::new(vec![0.0, 1.0, 0.5, 255.0], vec![1, 1, 2], vec![0; 2]).unwrap();
    let pairs = Dataset::new(vec![0.0; 8], vec![2, 2, 2], vec![0]).unwrap();
    let features = Dataset::new(vec![0.0; 4], vec![4], vec![0]).unwrap();
    let error = |(step, data, mean): (Step, &Dataset, &[f32])| {
        Augmentation::new(&[step], data, mean).unwrap_err().to_string().leak() as &str
    };
    let (mean, fill) = ([0.5; 3].as_slice(), Fill::default());
    let policy = |fill| Step::AutoAugment { policy: Policy::Cifar10, fill };
    let crop = |padding, fill| Step::Crop { padding, fill };
    assert_cases(
        [
            (
                "features",
                (Step::Flip { probability: 0.5 }, &features, mean),
                "augment needs images [C, H, W], and the data have shape [4]",
            ),
            (
                "no padding",
                (crop(0, fill.clone()), &good, mean),
                "crop is 0; for these images it must be 1 to 8 pixels",
            ),
            (
                "much padding",
                (crop(u32::MAX, fill.clone()), &good, mean),
                "crop is 4294967295; for these images it must be 1 to 8 pixels",
            ),
            (
                "large square",
                (Step::Cutout { size: 9, fill: fill.clone() }, &good, mean),
                "cutout is 9; for these images it must be 1 to 8 pixels",
            ),
            (
                "no probability",
                (Step::Flip { probability: 1.5 }, &good, mean),
                "flip is 1.5; a probability is 0 to 1",
            ),
            (
                "colour",
                (crop(1, Fill::Colour(vec![0.5])), &good, mean),
                "fill has 1 values, but the images have 3 channel(s)",
            ),
            (
                "infinite colour",
                (crop(1, Fill::Colour(vec![0.5, f32::INFINITY, 0.1])), &good, mean),
                "fill has the value inf; it must be finite",
            ),
            (
                "two channels",
                (policy(fill.clone()), &pairs, &[0.5; 2]),
                "autoaugment needs 1 or 3 channels, and the images have 2",
            ),
            (
                "bytes",
                (policy(fill.clone()), &bytes, &[0.5]),
                "autoaugment works on values from 0 to 1, and image 1 has 255; set data.preprocess.scale, 255 for bytes",
            ),
            (
                "bright fill",
                (policy(Fill::Colour(vec![1.5; 3])), &good, mean),
                "the fill of autoaugment has the value 1.5; it must be 0 to 1",
            ),
        ],
        error,
    );
}

#[test]
fn a_part_needs_rows_that_exist() {
    let data = Arc::new(images(3));
    let error = |rows| Part::new(Arc::clone(&data), rows).unwrap_err().to_string();
    assert_eq!(error(vec![]), "no images are selected");
    assert_eq!(error(vec![0, 3]), "image 3 is selected, but there are 3");
}

#[test]
fn mean_colours_vanish_in_normalization() {
    let data = Arc::new(images(20));
    let whitening = Part::whole(Arc::clone(&data)).statistics().unwrap().whitening().unwrap();
    let steps = [Step::Cutout { size: 8, fill: Fill::default() }];
    let augmentation = Augmentation::new(&steps, &data, whitening.mean()).unwrap();
    let part = Part::whole(Arc::clone(&data));
    let feed = Feed::training(part, 20, LastBatch::Drop, augmentation, whitening, 1).unwrap();
    let mut batch = Batch::new();
    assert!(feed.epoch(0).fill(0, &mut batch));
    let covered = batch.images().iter().filter(|value| **value == 0.0).count();
    assert!(covered > 20 * 3 * 16, "{covered} values are 0: a quarter of each image at least is covered");
}

/// Labels of up to five classes, of any sizes and in any order.
fn labels() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![Just(0_u32), Just(3), Just(4), Just(900), Just(u32::MAX)], 3..200)
}

proptest! {
    #[test]
    fn parts_are_disjoint_and_complete(
        labels in labels(), validation in 1_u64..100, test in 0.01_f64..0.99, stratified: bool, seed: u64,
    ) {
        let config = SplitConfig { validation: out(Amount::Count(validation)), test: out(Amount::Share(test)), stratified };
        let wanted = (test * labels.len() as f64).round() as usize;
        match Split::new(&labels, &config, seed) {
            Ok(split) => {
                prop_assert_eq!((split.validation.len(), split.test.len()), (validation as usize, wanted));
                for part in [&split.training, &split.validation, &split.test] {
                    prop_assert!(part.is_sorted() && !part.is_empty());
                }
                let mut all = [split.training.clone(), split.validation.clone(), split.test.clone()].concat();
                all.sort_unstable();
                prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
                prop_assert_eq!(Split::new(&labels, &config, seed).unwrap(), split);
            }
            Err(SplitError::Empty { .. }) => prop_assert_eq!(wanted, 0),
            Err(SplitError::NothingLeft { .. }) => prop_assert!(wanted + validation as usize >= labels.len()),
            Err(error) => prop_assert!(false, "{}", error),
        }
    }

    #[test]
    fn strata_have_their_shares(labels in labels(), share in 0.05_f64..0.9, seed: u64) {
        let config = SplitConfig { validation: out(Amount::Share(share)), ..SplitConfig::default() };
        let Ok(split) = Split::new(&labels, &config, seed) else { return Ok(()) };
        let count = |rows: &[usize], label| rows.iter().filter(|&&row| labels[row] == label).count();
        let all: Vec<usize> = (0..labels.len()).collect();
        for &label in &labels {
            let exact = (split.validation.len() * count(&all, label)) as f64 / labels.len() as f64;
            let taken = count(&split.validation, label) as f64;
            prop_assert!(taken == exact.floor() || taken == exact.ceil(), "{taken} instead of {exact}");
        }
    }

    #[test]
    fn an_epoch_has_every_row_once(rows in 1_usize..300, size in 1_usize..50, seed: u64, epoch: u64) {
        let rows: Vec<usize> = (0..rows).map(|row| row * 3).collect();
        let batches = Batches::shuffled(rows.clone(), size, LastBatch::Keep, seed, epoch).unwrap();
        let mut seen = batches.iter().flatten().copied().collect::<Vec<_>>();
        seen.sort_unstable();
        prop_assert_eq!(seen, rows);
    }
}
