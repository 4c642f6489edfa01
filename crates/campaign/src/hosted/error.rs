//! What can go wrong between a host and its campaign.

use bitquake_engine::SelfCheckError;
use bitquake_fault::{DrawError, PatternError, SelectorError, SpaceError};
use bitquake_record::RecordError;

use crate::error::CampaignError;

/// Why a campaign cannot be run with what its host gives.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HostedError {
    /// As with any campaign: the configuration, the fault space, result files, another campaign's directory.
    #[error(transparent)]
    Campaign(#[from] CampaignError),
    /// Faults in something that is not stored.
    #[error(
        "[fault] target: a host's campaign hits stored words alone (\"weights\"); faults in activations and inputs need a model that bitquake runs"
    )]
    Target,
    /// No tensor has words.
    #[error("no tensor was given that has elements: there is nothing to hit")]
    NoTensors,
    /// A name that says nothing, or two tensors of one name.
    #[error("tensor {place} is called `{name}`: {reason}")]
    TensorName {
        /// Its place among the tensors, from 0.
        place: usize,
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Dimensions whose product is no number of elements.
    #[error("tensor `{tensor}`: the dimensions {dims:?} are more elements than can be counted")]
    Dims {
        /// The tensor.
        tensor: String,
        /// Its dimensions.
        dims: Vec<u64>,
    },
    /// A digest that is none.
    #[error("the digest of the {of} is `{digest}`: give the 64 hexadecimal digits of a SHA-256")]
    Digest {
        /// What it is of: `words` or `data`.
        of: &'static str,
        /// What was given.
        digest: String,
    },
    /// Words of the host that are not those it described.
    #[error(transparent)]
    Words(#[from] PatternError),
    /// Outputs that are no rows.
    #[error("{values} outputs are no rows of {classes}: give one row of {classes} numbers for each image")]
    Rows {
        /// Numbers given.
        values: usize,
        /// Numbers in a row, as given.
        classes: usize,
    },
    /// Rows that are longer or shorter than those before.
    #[error("rows of {found} outputs, where the golden run has {golden}")]
    Classes {
        /// Of the golden run, or its batches before.
        golden: usize,
        /// Found.
        found: usize,
    },
    /// More or fewer images than in the golden run.
    #[error(
        "outputs of {found} images, where the golden run has {golden}: a trial is on the same images, in the same order"
    )]
    Images {
        /// Of the golden run.
        golden: usize,
        /// Found; of too many, those of the batches so far.
        found: usize,
    },
    /// A golden run without images.
    #[error("the golden run has no images")]
    NoImages,
    /// Labels that are not one for each image.
    #[error("{labels} labels for {images} images")]
    LabelCount {
        /// Labels.
        labels: usize,
        /// Images.
        images: usize,
    },
    /// A label that no class has.
    #[error("image {image} has the label {label}, the network has the classes 0 to {}", classes - 1)]
    Label {
        /// The image, from 0, over all batches.
        image: usize,
        /// Its label.
        label: u32,
        /// How many classes there are.
        classes: usize,
    },
    /// A classifier is judged by labels.
    #[error(
        "the outputs have no labels: give them, or say by [outcome] from which distance on outputs count as failed"
    )]
    LabelsMissing,
    /// Labels that nothing looks at.
    #[error(
        "labels were given, but [outcome] judges outputs by their distance from the golden run's: leave one of the two out"
    )]
    LabelsUnused,
    /// A distance of outputs that nobody sees.
    #[error(
        "[outcome] judges outputs by their distance from the golden run's, but the host gives metrics: leave one of the two out"
    )]
    OutcomeUnused,
    /// Outputs where the golden run gave numbers of the host's own, or the other way round.
    #[error("the golden run is of {golden}, this is of {found}")]
    Kind {
        /// What the golden run is of.
        golden: &'static str,
        /// What was given.
        found: &'static str,
    },
    /// A number of the host that cannot be what its name says.
    #[error("metric `{name}` is {value}: {problem}")]
    Metric {
        /// Its name.
        name: String,
        /// The number.
        value: f64,
        /// What is wrong with it.
        problem: MetricProblem,
    },
    /// No numbers at all.
    #[error("the host gave no metrics: give `images` and `correct`, `accuracy`, or numbers of its own")]
    NoMetrics,
    /// Other metrics than those of the golden run.
    #[error("{}", names_text(missing, unknown))]
    MetricNames {
        /// Metrics of the golden run that are missing.
        missing: Vec<String>,
        /// Metrics that the golden run did not have.
        unknown: Vec<String>,
    },
    /// A run without faults gave another number than the golden run.
    #[error(
        "self-check failed: without faults metric `{name}` is {found}, in the golden run it was {golden}"
    )]
    NotReproducible {
        /// The metric.
        name: String,
        /// In the golden run.
        golden: f64,
        /// Without faults, once more.
        found: f64,
    },
    /// Outputs or faults that prove the set-up wrong.
    #[error(transparent)]
    SelfCheck(#[from] SelfCheckError),
    /// Faults that no probe showed.
    #[error(
        "self-check failed: {missing}, so nothing proves that faults reach the network and nothing else does"
    )]
    NotProven {
        /// What was not tried.
        missing: &'static str,
    },
    /// A rule looks at a metric that the host does not tell.
    #[error("[run] stop: the host does not tell what `{metric}` needs; it tells {told}")]
    StopMetric {
        /// The metric.
        metric: &'static str,
        /// The metrics that a rule can look at.
        told: String,
    },
    /// A result of another trial than the one that is to be run.
    #[error("a result of point {}, trial {}, where {} is to be recorded", given.0, given.1, trial_text(*wanted))]
    OtherTrial {
        /// The trial that [`HostedRun::next_trial`](super::HostedRun::next_trial) gave, if it gave one.
        wanted: Option<(u32, u64)>,
        /// The point and the trial given.
        given: (u32, u64),
    },
    /// A time that is none.
    #[error("{seconds} seconds is no time that something takes")]
    Seconds {
        /// What was given.
        seconds: f64,
    },
}

/// What is wrong with a number of the host.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum MetricProblem {
    /// A count must be whole, and not more than an `f64` counts.
    #[error("a count of images is a whole number from 0 to 2^53")]
    NoCount,
    /// A count of images that says of how many is missing.
    #[error("a count of images needs `images`, how many there are")]
    NeedsImages,
    /// No images.
    #[error("there must be an image at least")]
    NoImages,
    /// More images than there are.
    #[error("there are {images} images")]
    BeyondImages {
        /// How many there are.
        images: u64,
    },
    /// Not the best class, but among the best five.
    #[error("the best class is among the best five, so it is at least `correct`, {correct}")]
    BelowCorrect {
        /// Images whose label is the best class.
        correct: u64,
    },
    /// A share is between 0 and 1.
    #[error("an accuracy is a share from 0 to 1")]
    NoShare,
    /// A share of images that no number of them is.
    #[error("no number of {images} images is that share; without `images` it is taken as a bare number")]
    NoShareOf {
        /// How many images there are.
        images: u64,
    },
    /// Two numbers that say the same and differ.
    #[error("`correct` and `images` make it {counted}")]
    Disagrees {
        /// The share of correct images.
        counted: f64,
    },
    /// A column needs a name.
    #[error("a metric needs a name")]
    NoName,
    /// One that every campaign has.
    #[error("campaigns have a metric of that name, which is worked out here: give it another name")]
    Taken,
    /// Given twice.
    #[error("it was given before")]
    Repeated,
}

fn names_text(missing: &[String], unknown: &[String]) -> String {
    let list = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match (missing, unknown) {
        (missing, []) => format!("the host did not give {}, which the golden run has", list(missing)),
        ([], unknown) => format!("the host gave {}, which the golden run does not have", list(unknown)),
        (missing, unknown) => format!(
            "the host gave {}, which the golden run does not have, and not {}, which it has",
            list(unknown),
            list(missing)
        ),
    }
}

fn trial_text(trial: Option<(u32, u64)>) -> String {
    trial.map_or("no trial".into(), |(point, trial)| format!("point {point}, trial {trial}"))
}

impl From<SpaceError> for HostedError {
    fn from(error: SpaceError) -> Self {
        CampaignError::from(error).into()
    }
}

impl From<SelectorError> for HostedError {
    fn from(error: SelectorError) -> Self {
        CampaignError::from(error).into()
    }
}

impl From<DrawError> for HostedError {
    fn from(error: DrawError) -> Self {
        CampaignError::from(error).into()
    }
}

impl From<RecordError> for HostedError {
    fn from(error: RecordError) -> Self {
        CampaignError::from(error).into()
    }
}
