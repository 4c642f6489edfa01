//! Every built-in network, with few channels.

use bitquake_graph::architecture::{Activation, Architecture, FAMILIES, FamilyRow, Norm, Whitening};

/// A family with few channels, so that tests are fast.
///
/// Not with fewer than 8: a SimpleNet of 4 divides by deviations so small that ONNX Runtime itself is 2e-5 away from the same
/// network in float64.
fn narrow(row: &FamilyRow) -> Architecture {
    let [channels, ..] = row.published_input.map(|size| size as usize);
    Architecture {
        channels: row.channels.map(|_| 8),
        whiten: Some(Whitening { mean: vec![0.4; channels], std: vec![0.3; channels] }),
        rescale: true,
        zero_residuals: row.zero_residuals.map(|_| false),
        ..Architecture::new(row.name, row.published_input, 4)
    }
}

/// Every family with every normalization, and one with every activation.
pub fn networks() -> impl Iterator<Item = Architecture> {
    let norms = FAMILIES.iter().flat_map(|row| {
        let fits = move |norm: &Norm| row.name != "mlp" || !norm.name().ends_with("gn");
        Norm::ALL.into_iter().filter(fits).map(|norm| Architecture { norm: Some(norm), ..narrow(row) })
    });
    let activations = [
        Activation::Sigmoid,
        Activation::Tanh,
        Activation::Pact { bits: 4, alpha: 1.5 },
        Activation::Dorefa { bits: 8 },
    ];
    let lenet = activations.map(|activation| Architecture { activation, ..narrow(&FAMILIES[0]) });
    norms.chain(lenet)
}
