//! The table of networks.

use super::options::{Fan, Norm};
use super::plan::{Features, Maps, Plan};
use super::{ArchitectureError, lenet, mlp, resnet, simplenet, vgg, wide_resnet};

/// One row of [`FAMILIES`].
#[derive(Clone, Copy, Debug)]
pub struct FamilyRow {
    /// The name in recipes: lower case, unique.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// The default of `channels`; `None` if the family does not take it.
    pub channels: Option<u64>,
    /// The default of `hidden`; `None` if the family does not take it.
    pub hidden: Option<&'static [u64]>,
    /// The default of `norm`.
    pub norm: Norm,
    /// The default of `zero_residuals`, where the normalization has a scale; `None` if the family does not take it.
    pub zero_residuals: Option<bool>,
    /// The default of `fan`.
    pub fan: Fan,
    /// The least height and width of an image.
    pub smallest: u64,
    /// Channels, height and width of the images that it was published for.
    pub published_input: [u64; 3],
    /// From preprocessed images to the features that the logits are made of.
    pub(super) body: Body,
}

/// What adds the layers of a family.
pub(super) type Body = fn(&mut Plan, Maps) -> Result<Features, ArchitectureError>;

/// What most families have.
const ROW: FamilyRow = FamilyRow {
    name: "",
    about: "",
    channels: None,
    hidden: None,
    norm: Norm::None,
    zero_residuals: None,
    fan: Fan::In,
    smallest: 1,
    published_input: [3, 32, 32],
    body: mlp::body,
};

/// A residual network of SPEC section 2.6.
const fn resnet(name: &'static str, about: &'static str, body: Body) -> FamilyRow {
    FamilyRow {
        name,
        about,
        channels: Some(64),
        norm: Norm::Regn,
        zero_residuals: Some(true),
        fan: Fan::Out,
        body,
        ..ROW
    }
}

/// A residual network of SPEC section 4.2.
const fn cifar_resnet(name: &'static str, about: &'static str, body: Body) -> FamilyRow {
    FamilyRow { channels: Some(16), norm: Norm::Bn, zero_residuals: Some(false), ..resnet(name, about, body) }
}

/// Every network. The list exists once: recipes, help pages and tests loop over it.
pub const FAMILIES: &[FamilyRow] = &[
    FamilyRow {
        name: "lenet5",
        about: "LeNet-5 (LeCun et al. 1998) with max pooling: convolutions of 6 and 16 channels, linear layers of 120 and 84",
        smallest: 12,
        published_input: [1, 28, 28],
        body: lenet::lenet5,
        ..ROW
    },
    FamilyRow {
        name: "lenet",
        about: "5x5 convolutions and pooling while the image halves, then a linear layer of 1024",
        channels: Some(64),
        norm: Norm::Regn,
        smallest: 2,
        published_input: [1, 28, 28],
        body: lenet::lenet,
        ..ROW
    },
    FamilyRow {
        name: "mlp",
        about: "linear layers, each with activation, then normalization",
        hidden: Some(&[200, 50]),
        published_input: [1, 28, 28],
        body: mlp::body,
        ..ROW
    },
    FamilyRow {
        name: "simplenet",
        about: "thirteen convolutions (Hasanpour et al. 2016), eleven for images below 32x32",
        channels: Some(64),
        norm: Norm::Regn,
        smallest: 8,
        body: simplenet::body,
        ..ROW
    },
    FamilyRow {
        name: "vgg11",
        about: "eight 3x3 convolutions with bias, five poolings (Simonyan and Zisserman 2015), one linear layer",
        channels: Some(64),
        norm: Norm::Bn,
        smallest: 32,
        body: vgg::vgg11,
        ..ROW
    },
    cifar_resnet("resnet20", "three stages of 3 blocks (He et al. 2016)", |plan, images| {
        resnet::body(plan, images, &resnet::RESNET20)
    }),
    cifar_resnet("resnet32", "three stages of 5 blocks", |plan, images| {
        resnet::body(plan, images, &resnet::RESNET32)
    }),
    cifar_resnet("resnet44", "three stages of 7 blocks", |plan, images| {
        resnet::body(plan, images, &resnet::RESNET44)
    }),
    cifar_resnet("resnet56", "three stages of 9 blocks", |plan, images| {
        resnet::body(plan, images, &resnet::RESNET56)
    }),
    resnet("resnet20-biased", "`resnet20` with bias in stem and shortcuts", |plan, images| {
        resnet::body(plan, images, &resnet::RESNET20_BIASED)
    }),
    resnet("resnet18", "four stages of 2 blocks, 3x3 stem, bias in stem and shortcuts", |plan, images| {
        resnet::body(plan, images, &resnet::RESNET18)
    }),
    resnet("resnet34", "stages of 3, 4, 6 and 3 blocks, as `resnet18`", |plan, images| {
        resnet::body(plan, images, &resnet::RESNET34)
    }),
    resnet("resnet50", "bottleneck blocks, expansion 4, stages as `resnet34`", |plan, images| {
        resnet::body(plan, images, &resnet::RESNET50)
    }),
    FamilyRow {
        name: "wrn28-10",
        about: "wide residual network (Zagoruyko and Komodakis 2016): depth 28, ten times the base channels, pre-activation, bias in every convolution",
        channels: Some(16),
        norm: Norm::Bn,
        fan: Fan::Out,
        body: wide_resnet::wrn28_10,
        ..ROW
    },
];

/// The row of a name.
pub(super) fn find(name: &str) -> Option<&'static FamilyRow> {
    FAMILIES.iter().find(|row| row.name == name)
}

/// The names of the families that `takes` holds for, for messages.
pub(super) fn takers(takes: impl Fn(&FamilyRow) -> bool) -> String {
    let names: Vec<&str> = FAMILIES.iter().filter(|row| takes(row)).map(|row| row.name).collect();
    names.join(", ")
}

/// All names, for messages.
pub(super) fn names() -> String {
    takers(|_| true)
}
